"""Every plug-in of the room keeps its contract and reads its own examples."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from types import ModuleType

import pytest

import vlfeedback.source
from vlfeedback.images import Roots
from vlfeedback.records import Dropped
from vlfeedback.source import Example, Found

FOLDER = Path(vlfeedback.source.__file__).parent
PLUGINS = sorted(file.stem for file in FOLDER.glob("[!_]*.py"))
EXAMPLES = [
    pytest.param(name, example, id=f"{name}-{number}")
    for name in PLUGINS
    for number, example in enumerate(importlib.import_module(f"vlfeedback.source.{name}").EXAMPLES)
]


def module(name: str) -> ModuleType:
    return importlib.import_module(f"vlfeedback.source.{name}")


def without_detail(item: Found | Dropped) -> Found | Dropped:
    return Dropped(item.room, item.record_id, item.reason) if isinstance(item, Dropped) else item


@pytest.mark.parametrize("name", PLUGINS)
def test_load_has_documented_and_annotated_options(name: str) -> None:
    load = module(name).load
    assert module(name).EXAMPLES
    assert load.__doc__
    signature = inspect.signature(load, eval_str=True)
    for option in signature.parameters.values():
        assert option.annotation is not inspect.Parameter.empty
        assert option.name == "path" or option.kind is inspect.Parameter.KEYWORD_ONLY
        assert option.name in load.__doc__


@pytest.mark.parametrize(("name", "example"), EXAMPLES)
def test_examples_are_read_as_written_and_again(name: str, example: Example, tmp_path: Path) -> None:
    for file, content in example.files.items():
        target = tmp_path / file
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content.encode() if isinstance(content, str) else content)
    load = module(name).load
    offered = {"path": tmp_path / example.path, "roots": Roots({"run": tmp_path / "run"})}
    given = {option: value for option, value in offered.items() if option in inspect.signature(load).parameters}
    reader = load(**given, **example.options)
    first = [without_detail(item) for item in reader()]
    assert first == list(example.found)
    assert [without_detail(item) for item in reader()] == first
