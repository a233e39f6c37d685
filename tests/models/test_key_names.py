"""A key where the name of its variable belongs: refused, and shown and kept nowhere."""

from __future__ import annotations

import traceback
from pathlib import Path

import pytest
from in_process import command

from vlfeedback import config
from vlfeedback.errors import ConfigError
from vlfeedback.images import Roots
from vlfeedback.models import openai

KEYS = ("sk-proj-abcdefghijklmnop1234", "gsk_aB3dEf6hIj9kLm2nOp5q", "AIzaSyA1b2C3d4E5f6G7h8I9j0", "a key", "ключ")
TABLE = '[[{}]]\nuse = "openai"\nmodel = "m"\nbase_url = "http://127.0.0.1:9/v1"\n'
PLACES = {
    "pool": TABLE.format("pool") + "api_key_env = '{}'\n",
    "judge": TABLE.format("judge") + "api_key_env = '{}'\n",
    "upper": TABLE.format("upper") + "api_key_env = '{}'\n",
    "grader": "[evaluate.mmhal.judge]\nuse = 'openai'\nmodel = 'm'\napi_key_env = '{}'\n",
    "one bracket": "[pool]\nuse = 'openai'\nmodel = 'm'\napi_key_env = '{}'\n",
    "another mistake": TABLE.format("pool") + "always = true\nshare = 0.2\napi_key_env = '{}'\n",
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("key", KEYS)
def test_it_is_shown_nowhere(tmp_path: Path, place: str, key: str) -> None:
    (tmp_path / "run.toml").write_text(PLACES[place].format(key), encoding="utf-8")
    with pytest.raises(ConfigError) as refused:
        config.load(tmp_path / "run.toml")
    assert key not in "".join(traceback.format_exception(refused.value))


def test_it_is_kept_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run.toml").write_text(TABLE.format("pool"), encoding="utf-8")
    for words in (("run", "--out", tmp_path / "out"), ("plan",)):
        changes = ("--set", f"pool.0.api_key_env={KEYS[0]}")
        assert command(monkeypatch, words[0], tmp_path / "run.toml", *words[1:], *changes) == 2
        said = "".join(capsys.readouterr())
        assert "[[pool]] 1: api_key_env is the name of an environment variable" in said
        assert KEYS[0] not in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("key", KEYS)
def test_from_python_as_well(key: str) -> None:
    with pytest.raises(ConfigError, match="name of an environment variable") as refused:
        openai.load(model="m", roots=Roots({}), api_key_env=key)
    assert key not in str(refused.value)


@pytest.mark.parametrize("name", ["", "KEYX", "my_key_2", "OPENAI_API_KEY_OF_TEAM_2", "Set2InThisEnvironment"])
def test_names_are_names(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("Set2InThisEnvironment", "x")
    made = openai.load(model="m", roots=Roots({}), base_url="http://127.0.0.1:9/v1", api_key_env=name)
    assert made.identity == "openai:m"
