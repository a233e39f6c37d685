"""Many rows in one statement leave in the file what as many statements would."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from vlfeedback._ledger_bulk import INTEND, SIZES, Bulk
from vlfeedback.ledger import Intent, Ledger, Settled
from vlfeedback.records import Call, Generation, Usage

KEYS = [f"key {number}" for number in range(75)]


def intents(keys: list[str], reserved: float = 1.0) -> list[Intent]:
    return [Intent(key, "m", f'{{"question of":"{key}"}}' + " " * 500, "annotate", reserved) for key in keys]


def replies(keys: list[str]) -> list[Settled]:
    return [
        Settled(key, Generation(f"reply {key}" * 50, "stop", usage=Usage(len(key), 2, 3, 4, 5), raw=f"raw {key}"), 0.25)
        for key in keys
    ]


def kept(path: Path, batches: list[list[str]]) -> list[tuple[object, ...]]:
    """What lies in the file after these batches, without times."""
    with Ledger.open(path) as ledger:
        for batch in batches:
            ledger.intend(intents(batch))
            ledger.intend(intents(batch[::3], 2.0))  # sent once more: the first sending counts as lost
            ledger.settle(replies(batch))
        found = [(call.key, call.request, call.generation, call.state, call.attempts) for call in ledger.calls()]
        assert ledger.spent() == pytest.approx(0.25 * len(KEYS) + sum(len(batch[::3]) for batch in batches))
    rows = sqlite3.connect(path).execute(
        "SELECT key, model, purpose, state, finish, error, cost, lost_cost, attempts, unsure, input, output, cached, "
        "image, reasoning, finished >= created FROM calls ORDER BY id"
    )
    return [*found, *rows]


def test_one_at_a_time_or_all_at_once_is_the_same_file(tmp_path: Path) -> None:
    together = kept(tmp_path / "together.sqlite", [KEYS])
    assert len(together) == 2 * len(KEYS)
    assert [one[2:4] for one in together[: len(KEYS)]] == [(one.generation, "done") for one in replies(KEYS)]
    spread = [KEYS[at : at + 3] for at in range(0, len(KEYS), 3)]  # so that the same ones are sent once more
    assert kept(tmp_path / "spread.sqlite", spread) == together


def test_what_is_made_on_the_way_is_what_the_ledger_would_make(tmp_path: Path) -> None:
    found: list[list[Call]] = []
    for name in ("packed", "plain"):
        with Ledger.open(tmp_path / name) as ledger:
            asked, said = intents(KEYS), replies(KEYS)
            packed = name == "packed"
            ledger.intend([one.packed() for one in asked] if packed else asked)
            ledger.settle([one.packed() for one in said] if packed else said)
            found.append(list(ledger.calls()))
    assert [(one.request, one.generation) for one in found[0]] == [(one.request, one.generation) for one in found[1]]
    assert isinstance(intents(KEYS)[0].packed().request, bytes), "it was to be compressed on the way"


def test_a_reply_without_an_intent_is_no_row(tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        ledger.settle(replies(["nobody asked"]))
        assert list(ledger.calls()) == [] and ledger.totals() == ()


def test_few_statements_for_many_rows(tmp_path: Path) -> None:
    seen: list[str] = []
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        writer = ledger._writer  # pyright: ignore[reportPrivateUsage]
        assert writer is not None
        writer.connection.set_trace_callback(seen.append)
        ledger.intend(intents(KEYS))
    of_calls = [one for one in seen if one.startswith(INTEND.before)]
    assert len(of_calls) == 4, "64, 8, 2 and 1"


def test_older_versions_of_sqlite_take_as_many_values() -> None:
    from vlfeedback import _ledger_bulk

    every = [one for one in vars(_ledger_bulk).values() if isinstance(one, Bulk)]
    assert len(every) == 4
    assert max(one.row.count("?") for one in every) * SIZES[0] <= 999
