"""Small mistakes, and what is said of them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vlfeedback import config, pipeline
from vlfeedback.commands.plan import plan
from vlfeedback.errors import ConfigError, RunLocked
from vlfeedback.locks import claim
from vlfeedback.run_folder import RunFolder

SOURCE = '[[source]]\nuse = "jsonl"\npath = "x.jsonl"\n'
MODEL = '[[{}]]\nuse = "openai"\nmodel = "m"\nbase_url = "http://127.0.0.1:9/v1"\n'


def settings(folder: Path, text: str) -> config.Settings:
    (folder / "run.toml").write_text(text, encoding="utf-8")
    (folder / "x.jsonl").write_text('{"prompt": "Why?"}', encoding="utf-8")
    return config.load(folder / "run.toml")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            SOURCE.replace("jsonl", "llava", 1) + 'image = "pics"\n',
            "'llava' has no option 'image'; did you mean 'images'",
        ),
        (SOURCE + "wieght = 0.3\n", "did you mean 'weight'"),
        (SOURCE + "xyzzy = 0.3\n", "known are: .*images, .*name, path.*, sample, .*weight"),
        (SOURCE + MODEL.format("pool") + "shore = 0.3\n", "did you mean 'share'"),
        (SOURCE + MODEL.format("pool") + "batch = 5\n", r"\[\[pool\]\] 1: batch = 5 .* Say batch = true .*, or false"),
    ],
)
def test_the_tables_own_keys_are_known(tmp_path: Path, text: str, words: str) -> None:
    found = settings(tmp_path, text + ("" if "pool" in text else MODEL.format("pool")) + "[decode]\nk = 1\n")
    run = RunFolder(tmp_path / "run", found, written=False)
    for doing in (lambda: pipeline.run_rooms(run, "source", "decode"), lambda: plan(found)):
        with pytest.raises(ConfigError, match=words):
            doing()


@pytest.mark.parametrize("section", ["source", "pool", "judge", "control", "upper"])
def test_a_list_of_tables_wants_two_brackets(tmp_path: Path, section: str) -> None:
    with pytest.raises(ConfigError, match=rf"\[{section}\] is a list of tables: write \[\[{section}\]\]"):
        settings(tmp_path, f"[{section}]\nuse = 'x'\nname = 'y'\n")


def test_who_must_wait_hears_what_may_run(tmp_path: Path) -> None:
    held = claim(tmp_path / ".lock", "it")
    with pytest.raises(RunLocked, match="`vlfeedback status`, `digest`, `compare` and `export` may run"):
        claim(tmp_path / ".lock", "it")
    os.close(held)
