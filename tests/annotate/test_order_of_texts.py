"""What a judge is shown depends on how the texts were sampled only where the settings say so."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vlfeedback import config, pipeline
from vlfeedback.annotate import Order, orders_of
from vlfeedback.ids import response_id
from vlfeedback.records import Response, Sampling
from vlfeedback.run_folder import RunFolder

COUNT = 12


def four(sampling: Sampling) -> list[Response]:
    made = [(f"m{number}", f"answer {number}") for number in range(4)]
    return [
        Response(response_id("i", model, sampling, text), "i", model, text, "stop", sampling) for model, text in made
    ]


def shown(responses: list[Response], order: Order) -> list[str]:
    texts = {one.id: one.text for one in responses}
    return [texts[name] for name in orders_of(responses, 1, order)[0]]


def test_the_order_of_ledgers_that_are_there_stays() -> None:
    """Pinned: with any other order all judgements that were ever made would be bought again."""
    assert shown(four(Sampling()), "hashed") == ["answer 3", "answer 2", "answer 0", "answer 1"]


def test_the_order_of_texts_knows_nothing_of_the_sampling() -> None:
    samplings = [Sampling(), Sampling(max_tokens=9), Sampling(0.0), Sampling(seed=1)]
    found = [shown(four(sampling), "texts") for sampling in samplings]
    assert found == found[:1] * 4
    assert shown(four(Sampling())[::-1], "texts") == found[0]
    assert len({tuple(shown(four(sampling), "hashed")) for sampling in samplings}) > 1


@pytest.mark.parametrize(("order", "again"), [("texts", 0), ("fixed", 0), ("hashed", None)])
def test_the_same_texts_are_judged_once_whatever_their_limit_was(tmp_path: Path, order: str, again: int | None) -> None:
    rows = [json.dumps({"prompt": f"What does sign {number} say?"}) for number in range(COUNT)]
    (tmp_path / "instructions.jsonl").write_text("\n".join(rows), encoding="utf-8")
    settings = config.parse(
        {
            "source": [{"use": "jsonl", "path": str(tmp_path / "instructions.jsonl")}],
            "pool": [{"use": "scripted", "model": f"m{number}", "replies": [f"{number}"]} for number in range(4)],
            "judge": [{"use": "scripted", "model": "judge"}],
            "annotate": {"order": order},
        },
        "test",
    )
    pipeline.run_rooms(RunFolder.create(tmp_path / "run", settings), last="annotate")
    longer = config.changed(settings, {"decode.max_tokens": 1024})
    made = pipeline.run_rooms(RunFolder.create(tmp_path / "run", longer), last="annotate").calls_made
    judged = made - 4 * COUNT  # another limit is another question to the pool
    assert judged == again if again is not None else judged > COUNT // 2
