"""What can be known beforehand is said before a call is paid for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vlfeedback import config, pipeline, preflight
from vlfeedback.commands.plan import plan
from vlfeedback.commands.run import open_run
from vlfeedback.commands.status import next_step, status
from vlfeedback.errors import ConfigError, ModelUnavailable
from vlfeedback.preflight import check, missing_models
from vlfeedback.run_folder import RunFolder

LOCAL = {"use": "transformers", "model": "/nowhere/policy"}
SOURCE = {"use": "jsonl", "path": "x.jsonl", "images": "pics"}


def settings(**tables: Any) -> config.Settings:
    return config.parse(tables, "a test")


def test_more_responses_than_models_are_refused_by_plan_and_run(tmp_path: Path) -> None:
    found = settings(pool=[{"use": "scripted", "model": "a"}], decode={"k": 2})
    with pytest.raises(ConfigError, match=r"decode.k = 2, but the pool has 1 models"):
        plan(found)
    with pytest.raises(ConfigError, match=r"decode.k = 2"):
        pipeline.run_rooms(RunFolder.create(tmp_path / "run", found))


def test_an_image_root_that_is_not_there_is_named_with_those_that_are() -> None:
    with pytest.raises(ConfigError, match=r"\[\[source\]\] 1: no image root is called 'pics'; \[images\] has: photos"):
        check(settings(images={"photos": "."}, source=[SOURCE]))
    check(settings(images={"pics": "."}, source=[SOURCE]))
    check(settings(source=[{**SOURCE, "images": "run"}]))


def test_a_policy_that_is_not_there_stops_a_run_before_its_first_call(tmp_path: Path) -> None:
    found = settings(source=[{"use": "pocket", "scenes": 2}], train={"model": "/nowhere/policy"})
    with pytest.raises(ModelUnavailable, match=r"checkpoint of \[train\] model: /nowhere/policy"):
        pipeline.run_rooms(RunFolder.create(tmp_path / "run", found))
    assert not list((tmp_path / "run").glob("*.parquet")) and not (tmp_path / "run" / "ledger.sqlite").exists()


def test_folders_of_models_are_looked_for_and_names_of_the_hub_are_not(tmp_path: Path) -> None:
    pool = [LOCAL, {**LOCAL, "model": "org/name"}, {**LOCAL, "model": str(tmp_path)}, {"use": "openai", "model": "/x"}]
    found = settings(pool=pool, upper=[LOCAL], train={"model": "./policy", "init": "~/nowhere"})
    assert [one.what for one in missing_models(found)] == [
        "checkpoint of [[pool]] 1", "checkpoint of [[upper]] 1", "checkpoint of [train] model",
        "checkpoint of [train] init",
    ]  # fmt: skip
    assert [one.what for one in missing_models(found, training=False)] == ["checkpoint of [[pool]] 1"]


def test_a_folder_that_is_no_run_folder_is_not_called_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"is no run folder: it has no run\.toml"):
        open_run(tmp_path, tmp_path / "out", {})
    RunFolder.create(tmp_path / "run", settings())
    with pytest.raises(ConfigError, match=r"is a run folder already: leave --out away"):
        open_run(tmp_path / "run", tmp_path / "out", {})


@pytest.mark.parametrize("place", ["target", "out"])
def test_a_name_that_no_file_can_have_is_said(place: str, tmp_path: Path) -> None:
    long = tmp_path / ("n" * 300)
    (tmp_path / "run.toml").write_text("")
    given = {"target": (long / "run.toml", None), "out": (tmp_path / "run.toml", long / "x")}[place]
    with pytest.raises(ConfigError, match="a part of this name is too long"):
        open_run(*given, {})


def test_a_folder_with_nothing_but_settings_is_no_run_folder(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text("")
    with pytest.raises(ConfigError, match=r"nothing that a run has made.*vlfeedback run .*run.toml --out DIR"):
        status(tmp_path)
    (tmp_path / ".lock").touch()
    assert status(tmp_path).next == f"vlfeedback run {tmp_path}"


def test_what_to_do_next_names_the_training_that_is_missing(tmp_path: Path) -> None:
    from vlfeedback import tables
    from vlfeedback.records import Annotation, Instruction, PreferencePair, Response

    run = RunFolder.create(tmp_path, settings(train={"model": "m"}))
    named = (
        ("instructions", Instruction),
        ("responses", Response),
        ("annotations", Annotation),
        ("pairs", PreferencePair),
    )
    for name, record in named:
        tables.write(run.table(name), record, [], room="pair")
    assert next_step(tmp_path) == f"vlfeedback train {tmp_path}"
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "checkpoint" / "train.json").write_text('{"key": "begun"}')
    assert next_step(tmp_path) == f"vlfeedback train {tmp_path}"
    (tmp_path / "checkpoint" / "train.json").write_text('{"result": {"steps": 1}}')
    assert next_step(tmp_path).startswith(f"the checkpoint is {tmp_path / 'checkpoint'}")


def test_several_processes_may_only_train(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    preflight.one_process(tmp_path)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="2 processes were started: only the training is shared"):
        preflight.one_process(tmp_path)


def test_a_benchmarks_judge_that_lies_nowhere_is_missing_before_the_run() -> None:
    judge = {"use": "transformers", "model": "/nowhere/judge"}
    settings = config.parse({"evaluate": {"mmhal": {"judge": judge}, "mme": {}}}, "here")
    (one,) = preflight.missing_models(settings)
    assert (
        one.what == "checkpoint of [evaluate.mmhal.judge]"
        and list(preflight.missing_models(settings, training=False)) == []
    )
