"""`vlfeedback evaluate` without a training: the base of a run, a checkpoint, an adapter, an endpoint by themselves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from evaluate import copies
from evaluate.asking import tiny_mme
from in_process import command
from servers import serve
from tiny_models import write_llava

from vlfeedback import tables
from vlfeedback.commands.compare import compare_runs
from vlfeedback.commands.evaluate import open_evaluation
from vlfeedback.commands.status import status
from vlfeedback.errors import ConfigError
from vlfeedback.records import Answer, Score

ITEMS = 24


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint, an adapter of it, a tiny MME, and settings that name it."""
    import peft
    import torch
    from transformers import AutoModelForImageTextToText

    folder = tmp_path_factory.mktemp("world")
    checkpoint = write_llava(folder / "base")
    lora = peft.LoraConfig(r=4, target_modules=["q_proj", "down_proj"], init_lora_weights=False)
    torch.manual_seed(1)
    peft.get_peft_model(AutoModelForImageTextToText.from_pretrained(checkpoint), lora).save_pretrained(folder / "tuned")
    tiny_mme(folder / "mme", pictures=4)
    bench = '[images]\nmme = "mme"\n\n[evaluate.mme]\npath = "mme"\nimages = "mme"\nmax_tokens = 12\n'
    (folder / "bench.toml").write_text(bench, encoding="utf-8")
    (folder / "run.toml").write_text(
        f'{bench}\n[train]\nmodel = "{checkpoint}"\n\n[[source]]\nuse = "jsonl"\npath = "x.jsonl"\n', encoding="utf-8"
    )
    return folder


def answers(run: Path) -> list[Answer]:
    return list(tables.read(run / "answers.parquet", Answer))


def test_base_only_needs_no_training_and_meets_the_base_of_a_trained_run(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    toml = world / "run.toml"
    assert command(monkeypatch, "evaluate", toml, "--out", run) == 2
    assert "--base-only" in capsys.readouterr().err
    assert command(monkeypatch, "evaluate", toml, "--out", run, "--base-only") == 0
    found = answers(run)
    assert len(found) == ITEMS and len({one.model for one in found}) == 1
    told = json.loads((run / "evaluation.json").read_text())["conditions"]
    assert [one["model"] for one in told] == [found[0].model]
    assert json.loads((run / "comparisons.json").read_text()) == []
    trained = tmp_path / "trained"
    trained.mkdir()
    (trained / "checkpoint").symlink_to(world / "tuned")
    (world / "tuned" / "train.json").write_text('{"result": {"steps": 1}}')
    assert command(monkeypatch, "evaluate", toml, "--out", trained) == 0
    assert compare_runs(run, trained).same == (found[0].model,)
    (world / "tuned" / "train.json").unlink()


def test_a_checkpoint_an_adapter_and_an_endpoint_are_asked_by_themselves_and_compared(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two, three = (tmp_path / name for name in ("base", "tuned", "endpoint"))
    bench = world / "bench.toml"
    assert command(monkeypatch, "evaluate", bench, "--model", world / "base", "--out", one) == 0
    assert f"vlfeedback compare {one}" in capsys.readouterr().out
    assert command(monkeypatch, "evaluate", world / "run.toml", "--model", world / "tuned", "--out", two) == 0
    with serve(tmp_path / "served.jsonl", reply=lambda _: "Yes, it is.") as server:
        asked = ("evaluate", bench, "--model", "big", "--base-url", server.url, "--out", three)
        assert command(monkeypatch, *asked) == 0
        assert command(monkeypatch, *asked) == 0  # nothing is bought again
        assert len(server.served()) == len({line["body"] for line in server.served()})
    assert {one.text for one in answers(three)} == {"Yes, it is."}
    assert {score.metric for score in tables.read(three / "scores.parquet", Score)} >= {"perception", "cognition"}
    for old, new in ((one, two), (one, three), (two, three)):
        found = compare_runs(old, new)
        assert found.rows or found.same
        assert not found.refused
    assert {row.new_model for row in compare_runs(one, three).rows} == {"openai:big"}
    assert status(two).next == f"vlfeedback compare {two} OTHER_DIR"


def test_several_models_share_a_folder_and_the_first_is_the_base(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    both = ("--model", world / "base", "--model", world / "tuned")
    assert command(monkeypatch, "evaluate", world / "bench.toml", *both, "--out", run) == 0
    assert len({one.model for one in answers(run)}) == 2 and len(answers(run)) == 2 * ITEMS
    rows = json.loads((run / "comparisons.json").read_text())
    assert {row["base"] for row in rows} == {answers(run)[0].model}


def test_an_endpoint_that_fails_leaves_scores_incomplete_and_is_asked_again(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    with serve(tmp_path / "served.jsonl", reply=lambda _: "Yes", every={24: "500"}) as server:
        more = ("--set", "upper.0.attempts=1", "--set", "upper.0.in_flight=1")
        asked = ("evaluate", world / "bench.toml", "--model", "m", "--base-url", server.url, "--out", run, *more)
        assert command(monkeypatch, *asked) == 1  # one of 24 items is more than two in a hundred: no headline
        assert "1 of 24 items" in capsys.readouterr().err
        server.every.clear()
        assert command(monkeypatch, *asked) == 0
        assert len(server.served()) <= ITEMS + 1
    assert tables.info(run / "scores.parquet").complete


def test_a_few_failed_items_leave_a_headline_an_exit_code_of_one_and_are_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    copies.pope(tmp_path / "pope", pictures=6)
    text = '[images]\nown = "pope/pictures"\n\n[evaluate.pope]\npath = "pope"\nimages = "own"\n'
    (tmp_path / "bench.toml").write_text(text, encoding="utf-8")
    run = tmp_path / "run"
    with serve(tmp_path / "served.jsonl", reply=lambda _: "Yes", faults=["500"]) as server:
        more = ("--set", "upper.0.attempts=1")
        asked = ("evaluate", tmp_path / "bench.toml", "--model", "m", "--base-url", server.url, "--out", run, *more)
        assert command(monkeypatch, *asked) == 1
        last = capsys.readouterr().err.strip().splitlines()[-1]
        assert last.startswith("1 call has no answer (openai:m: 1 server). The same command asks for it again")
        assert not tables.info(run / "scores.parquet").complete
        assert status(run).next == f"vlfeedback evaluate {run}"
        assert command(monkeypatch, "evaluate", run) == 0
    assert tables.info(run / "scores.parquet").complete


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"models": ["m"]}, "--model wants --out"),
        ({"base_url": "http://x/v1"}, "--base-url belongs to --model"),
        ({"models": ["m"], "base_only": True, "out": "o"}, "--base-only is the model of"),
    ],
)
def test_wishes_that_contradict_each_other_are_refused(
    world: Path, tmp_path: Path, more: dict[str, object], says: str
) -> None:
    out = tmp_path / str(more.pop("out")) if "out" in more else None
    with pytest.raises(ConfigError, match=says):
        open_evaluation(world / "bench.toml", out, **more)  # type: ignore[arg-type]


def test_the_run_itself_is_never_overwritten_by_a_model_that_is_asked_by_itself(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert command(monkeypatch, "evaluate", world / "run.toml", "--out", run, "--base-only") == 0
    before = (run / "run.toml").read_text()
    assert command(monkeypatch, "evaluate", run, "--model", "m", "--out", run) == 2
    assert (run / "run.toml").read_text() == before


def test_settings_without_a_model_say_what_to_add(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(monkeypatch, "evaluate", world / "bench.toml", "--out", tmp_path / "run") == 2
    assert "--model NAME" in capsys.readouterr().err
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "adapter_config.json").write_text("[]")
    asked = ("evaluate", world / "bench.toml", "--model", tmp_path / "broken", "--out", tmp_path / "x")
    assert command(monkeypatch, *asked) == 2
    assert "does not name its base" in capsys.readouterr().err
