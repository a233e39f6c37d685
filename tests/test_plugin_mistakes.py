"""Plug-ins that somebody writes for the first time: what is wrong with them is said in a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from vlfeedback import config
from vlfeedback.config import PoolTable
from vlfeedback.errors import ConfigError, PluginError
from vlfeedback.images import Roots
from vlfeedback.run_models import bare

MINE = """
class Parrot:
    hosts, local, identity = (), True, "parrot"
    async def answer(self, request): ...

def load(word: str = "x", many: "list[str] | dict[str, str] | None" = None): return Parrot()
def nothing(): Parrot()
def anything(**options): return Parrot()
def rows(*names): return Parrot()
"""


@pytest.fixture(autouse=True)
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine_plugins.py").write_text(MINE, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))


def made(function: str, **options: object) -> object:
    table: PoolTable = config.parse({"pool": [{"use": f"mine_plugins:{function}", **options}]}, "test").pool[0]
    return bare(table, "[[pool]] 1", Roots({}), allow_plugins=True)


def test_one_that_is_a_model_is_taken() -> None:
    assert getattr(made("load", word="y"), "identity", "") == "parrot"


def test_one_that_forgets_to_return_its_model_is_named() -> None:
    with pytest.raises(
        PluginError, match=r"\[\[pool\]\] 1: what 'mine_plugins:nothing' gives \(NoneType\) is no model"
    ):
        made("nothing")


@pytest.mark.parametrize(("function", "shown"), [("anything", r"\*\*options"), ("rows", r"\*names")])
def test_options_that_no_signature_names_are_refused(function: str, shown: str) -> None:
    with pytest.raises(PluginError, match=f"takes {shown}: it has to name its options"):
        made(function, word="y")


def test_an_option_of_several_types_is_named_without_pydantics_words() -> None:
    with pytest.raises(ConfigError, match="option 'many' of 'mine_plugins:load'"):
        made("load", many=3)
