"""Every benchmark keeps the room's contract and scores its own examples."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from typing import Any

import pytest
from evaluate import copies
from evaluate.asking import answer, judged_by, tiny_mme

import vlfeedback.evaluate
from vlfeedback import evaluate
from vlfeedback.evaluate import Benchmark, Example, Exporter, Item, Judged
from vlfeedback.images import Roots
from vlfeedback.records import Answer, ItemScore

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
    for name in set(PLUGINS) - supplied.keys():
        roots = getattr(copies, name)(folder / name)
        supplied[name] = {"path": folder / name, "images": "pictures", "roots": roots}
    return {name: importlib.import_module(f"vlfeedback.evaluate.{name}").load(**supplied[name]) for name in PLUGINS}


def scored(benchmark: Benchmark, items: list[Item], answers: list[Answer], reply: str) -> list[ItemScore]:
    """Item scores of answers; a judge, where there is one, says the same as the model."""
    said = judged_by(benchmark, items, answers, lambda _: reply) if isinstance(benchmark, Judged) else []
    return evaluate.item_scores(benchmark, items, answers, said)


def say_all(items: list[Item], name: str) -> list[Answer]:
    return [answer(item, "An answer.", benchmark=name) for item in items]


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
        scores = scored(benchmarks[name], items, [answer(item, reply, benchmark=name) for item in items], reply)
        assert {score.answer.item_id for score in scores} == {item.item_id for item in items}
        assert all(score.state != "failed" for score in scores)
    failed = evaluate.item_scores(
        benchmarks[name], items, [answer(item, "", benchmark=name, finish="error") for item in items]
    )
    assert all(score.state == "failed" and score.value is None for score in failed)


@pytest.mark.parametrize("name", PLUGINS)
def test_every_benchmark_writes_the_official_files(name: str, benchmarks: dict[str, Benchmark], tmp_path: Path) -> None:
    benchmark = benchmarks[name]
    assert isinstance(benchmark, Exporter)
    items = list(benchmark.items())
    answers = [
        answer(item, "\ud800 é\n", benchmark=name, finish="error" if n == 1 else "stop") for n, item in enumerate(items)
    ]
    said = judged_by(benchmark, items, answers, lambda _: "Rating: 3") if isinstance(benchmark, Judged) else []
    benchmark.export(tmp_path / "out", items, answers, said)
    files = [file for file in (tmp_path / "out").rglob("*") if file.is_file()]
    assert files and all(file.read_bytes().decode() for file in files)


@pytest.mark.parametrize(("name", "example"), EXAMPLES)
def test_examples(name: str, example: Example, benchmarks: dict[str, Benchmark]) -> None:
    items = [item for item in benchmarks[name].items() if item.stratum == example.stratum][: len(example.replies)]
    answers = [
        answer(item, "", benchmark=name, finish="error")
        if reply is None
        else answer(item, item.expected if reply == "=" else reply, benchmark=name)
        for item, reply in zip(items, example.replies, strict=True)
    ]
    if isinstance(benchmarks[name], Judged):
        replies = {item.item_id: reply for item, reply in zip(items, example.replies, strict=True)}
        said = judged_by(benchmarks[name], items, say_all(items, name), lambda one: replies[one.item_id])
        scores = evaluate.item_scores(benchmarks[name], items, say_all(items, name), said)
    else:
        scores = evaluate.item_scores(benchmarks[name], items, answers)
    for metric, values in example.values.items():
        assert tuple(score.value for score in scores if score.metric == metric) == pytest.approx(values)
