"""Killed and resumed with other batches, the ledger gives the same answers; base and aligned evaluated in one run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from evaluate.asking import tiny_mme
from tiny_models import write_llava

from vlfeedback import evaluate, pipeline, tables
from vlfeedback.commands.compare import compare_runs
from vlfeedback.config import parse
from vlfeedback.errors import ConfigError
from vlfeedback.evaluate import mme
from vlfeedback.ledger import Ledger
from vlfeedback.models import transformers as backend
from vlfeedback.models._ledgered import LedgerBook, Ledgered
from vlfeedback.records import Answer, ItemScore, Score
from vlfeedback.run_folder import RunFolder


@pytest.fixture(scope="module")
def llava(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_llava(tmp_path_factory.mktemp("checkpoints") / "base")


def asked(folder: Path, checkpoint: Path, ledger: Path, batch: int, stop_after: int | None = None) -> list[Answer]:
    """Ask a tiny MME; after so many answers the process forgets everything, as if it had been killed."""
    roots = tiny_mme(folder, pictures=4)
    items = list(mme.load(path=folder, images="mme", roots=roots, max_tokens=12).items())
    with Ledger.open(ledger) as kept:
        book = LedgerBook(kept)
        model = backend.load(model=str(checkpoint), roots=roots, batch=batch)
        paid = Ledgered(model, book, price=lambda _: 0.0, reserve=lambda _: 0.0)
        found: list[Answer] = []
        for one in evaluate.answers(items, paid, benchmark="mme", in_flight=2 * batch):
            found.append(one)
            if stop_after is not None and len(found) == stop_after:
                break
        made.append(book.counters.made)
    return found


made: list[int] = []
"""Calls that each `asked` really made."""


def texts(answers: list[Answer]) -> dict[str, str]:
    return {one.item_id: f"{one.finish}: {one.text}" for one in answers}


def test_stopped_and_resumed_with_another_batch_size_gives_the_same_answers(tmp_path: Path, llava: Path) -> None:
    made.clear()
    whole = texts(asked(tmp_path / "mme", llava, tmp_path / "one.sqlite", batch=1))
    first = texts(asked(tmp_path / "mme", llava, tmp_path / "two.sqlite", batch=3, stop_after=5))
    rest = texts(asked(tmp_path / "mme", llava, tmp_path / "two.sqlite", batch=7))
    assert len(whole) == 24 and len(set(whole.values())) > 3
    assert len(first) == 5 and first.items() <= whole.items()
    assert rest == whole
    assert made[0] == 24 and made[2] <= 24 - 5  # what had an answer was not asked again


@pytest.mark.slow
def test_killed_and_resumed_gives_the_same_answers(tmp_path: Path, llava: Path) -> None:
    script = f"""
import os, signal, sys
sys.path[:0] = {[str(Path(__file__).parent.parent)]!r}
from pathlib import Path
from vlfeedback.models import transformers
real, count = transformers.TransformersModel.answer_all, [0]
def counting(self, requests):
    count[0] += 1
    if count[0] == 4:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(self, requests)
transformers.TransformersModel.answer_all = counting
from evaluate.test_generation import asked
asked(Path({str(tmp_path / "mme")!r}), Path({str(llava)!r}), Path({str(tmp_path / "l.sqlite")!r}), batch=3)
"""
    done = subprocess.run([sys.executable, "-c", script], env=dict(os.environ), check=False)
    assert done.returncode == -signal.SIGKILL
    made.clear()
    rest = texts(asked(tmp_path / "mme", llava, tmp_path / "l.sqlite", batch=5))
    assert 0 < made[0] < 24
    assert rest == texts(asked(tmp_path / "mme", llava, tmp_path / "other.sqlite", batch=2))


# ── a whole evaluation ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, llava: Path) -> Iterator[RunFolder]:
    """Base and an adapter, evaluated on a tiny MME."""
    import peft
    import torch
    from transformers import AutoModelForImageTextToText

    folder = tmp_path_factory.mktemp("runs") / "r"
    lora = peft.LoraConfig(r=4, target_modules=["q_proj", "down_proj"], init_lora_weights=False)
    torch.manual_seed(1)
    peft.get_peft_model(AutoModelForImageTextToText.from_pretrained(llava), lora).save_pretrained(folder / "checkpoint")
    (folder / "checkpoint" / "train.json").write_text('{"result": {"steps": 1}}')
    tiny_mme(folder.parent / "mme", pictures=4)
    place = str(folder.parent / "mme")
    settings = {
        "images": {"mme": place},
        "train": {"model": str(llava), "options": {"batch": 3}},
        "evaluate": {"mme": {"path": place, "images": "mme", "max_tokens": 12}},
    }
    opened = RunFolder.create(folder, parse(settings, "test"))
    pipeline.run_rooms(opened, "evaluate", "evaluate")
    yield opened


def test_an_evaluation_says_under_which_conditions_it_was_made(run: RunFolder) -> None:
    told = json.loads((run.path / "evaluation.json").read_text(encoding="utf-8"))
    base, aligned = told["conditions"]
    assert aligned["model"] == base["model"] + "+dpo"
    assert base | {"model": ""} == aligned | {"model": ""}
    assert base["dtype"] == "float32" and base["decoding"] == "temperature 0.0, top-p 1.0, at most 12 tokens"
    assert {one["form"] for one in told["drift"]} >= {"length", "other", "yes_ratio"}
    rows = json.loads((run.path / "comparisons.json").read_text(encoding="utf-8"))
    assert {row["metric"] for row in rows} >= {"perception", "cognition", "other", "yes_ratio", "accuracy"}
    assert all("says" in row and "p_holm" in row for row in rows)
    answers = list(tables.read(run.table("answers"), Answer))
    said = {(one.model, one.item_id): one.text for one in answers}
    assert any(said[base["model"], one.item_id] != said[aligned["model"], one.item_id] for one in answers)
    assert compare_runs(run.path).notes == ()


def again(run: RunFolder, folder: Path, **options: object) -> RunFolder:
    """The same evaluation in another folder, with other settings; nothing is asked that its ledger knows."""
    data = json.loads(json.dumps(run.settings.model_dump(mode="json")))
    data["evaluate"]["mme"] |= {key: value for key, value in options.items() if key == "max_tokens"}
    data["train"]["options"] |= {key: value for key, value in options.items() if key in ("dtype", "batch")}
    data["ledger"]["path"] = str(run.path / "ledger.sqlite")
    other = RunFolder.create(folder, parse(data, "test"))
    (folder / "checkpoint").symlink_to(run.path / "checkpoint")
    pipeline.run_rooms(other, "evaluate", "evaluate")
    return other


def test_another_batch_size_changes_nothing_and_other_conditions_are_refused(run: RunFolder, tmp_path: Path) -> None:
    same = again(run, tmp_path / "same", batch=5)
    assert len(compare_runs(run.path, same.path).same) == 2
    with pytest.raises(ConfigError, match="other decoding"):
        compare_runs(run.path, again(run, tmp_path / "longer", max_tokens=16).path)


@pytest.mark.parametrize("dtype", ["bfloat16"])
def test_another_number_format_is_refused(run: RunFolder, tmp_path: Path, dtype: str) -> None:
    other = again(run, tmp_path / "half", dtype=dtype)
    told = json.loads((other.path / "evaluation.json").read_text(encoding="utf-8"))["conditions"]
    assert [one["dtype"] for one in told] == [dtype, dtype]  # the aligned model's too
    with pytest.raises(ConfigError, match="other dtype"):
        compare_runs(run.path, other.path)


def test_every_item_has_an_answer_a_score_and_a_result(run: RunFolder) -> None:
    answers = list(tables.read(run.table("answers"), Answer))
    scores = list(tables.read(run.table("item_scores"), ItemScore))
    results = {one.metric for one in tables.read(run.table("scores"), Score)}
    assert len(answers) == 2 * 24 and {(one.answer.model, one.answer.item_id) for one in scores} == {
        (one.model, one.item_id) for one in answers
    }
    assert {"perception", "cognition"} <= results
