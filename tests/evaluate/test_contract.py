"""Every benchmark keeps the room's contract and scores its own examples."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from typing import Any

import pytest
from evaluate.asking import answer, tiny_mme

import vlfeedback.evaluate
from vlfeedback import evaluate
from vlfeedback.evaluate import Benchmark, Example
from vlfeedback.images import Roots

FOLDER = Path(vlfeedback.evaluate.__file__).parent
PLUGINS = sorted(file.stem for file in FOLDER.glob("[!_]*.py"))
EXAMPLES = [
    pytest.param(name, example, id=f"{name}: {example.about}")
    for name in PLUGINS
    for example in importlib.import_module(f"vlfeedback.evaluate.{name}").EXAMPLES
]


@pytest.fixture(scope="module")
def benchmarks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Benchmark]:
    """Every benchmark, small; those on the user's own data get a tiny copy."""
    folder = tmp_path_factory.mktemp("contract")
    supplied: dict[str, dict[str, Any]] = {
        "mme": {"path": folder / "mme", "images": "mme", "roots": tiny_mme(folder / "mme")},
        "pocket": {"roots": Roots({"run": folder / "run"}), "images": 2},
    }
    return {name: importlib.import_module(f"vlfeedback.evaluate.{name}").load(**supplied[name]) for name in PLUGINS}


@pytest.mark.parametrize("name", PLUGINS)
def test_load_has_documented_and_annotated_options(name: str) -> None:
    module = importlib.import_module(f"vlfeedback.evaluate.{name}")
    assert module.EXAMPLES and module.load.__doc__
    for option in inspect.signature(module.load, eval_str=True).parameters.values():
        assert option.annotation is not inspect.Parameter.empty
        assert f"{option.name}:" in module.load.__doc__


@pytest.mark.parametrize("name", PLUGINS)
def test_items_are_the_same_every_time_and_unique(name: str, benchmarks: dict[str, Benchmark]) -> None:
    once, again = list(benchmarks[name].items()), list(benchmarks[name].items())
    assert once == again
    assert len({item.item_id for item in once}) == len(once)
    assert all(item.prompt and item.cluster and item.stratum and item.images for item in once)
    assert benchmarks[name].name == name and benchmarks[name].protocol.startswith(f"{name}/")


@pytest.mark.parametrize("name", PLUGINS)
def test_the_books_balance_for_good_unreadable_and_failed_answers(name: str, benchmarks: dict[str, Benchmark]) -> None:
    items = list(benchmarks[name].items())
    for reply in ("", "???", "I cannot say.", "yes", "a" * 5000, "\x00\ud800"):
        scores = evaluate.item_scores(benchmarks[name], items, [answer(item, reply, benchmark=name) for item in items])
        assert {score.answer.item_id for score in scores} == {item.item_id for item in items}
        assert all(score.state != "failed" for score in scores)
    failed = evaluate.item_scores(
        benchmarks[name], items, [answer(item, "", benchmark=name, finish="error") for item in items]
    )
    assert all(score.state == "failed" and score.value is None for score in failed)


@pytest.mark.parametrize(("name", "example"), EXAMPLES)
def test_examples(name: str, example: Example, benchmarks: dict[str, Benchmark]) -> None:
    items = [item for item in benchmarks[name].items() if item.stratum == example.stratum][: len(example.replies)]
    answers = [
        answer(item, "", benchmark=name, finish="error")
        if reply is None
        else answer(item, item.expected if reply == "=" else reply, benchmark=name)
        for item, reply in zip(items, example.replies, strict=True)
    ]
    scores = evaluate.item_scores(benchmarks[name], items, answers)
    for metric, values in example.values.items():
        assert tuple(score.value for score in scores if score.metric == metric) == pytest.approx(values)
