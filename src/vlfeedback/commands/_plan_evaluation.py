"""The evaluation in a plan: who answers how many items of which benchmark, and what their judges cost.

A benchmark whose data are here is looked at item by item: prompts, pictures, limits, the words of its question to the
judge. Of one that is not, the size is known where it is fixed, and the rest is assumed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from vlfeedback import prices, registry
from vlfeedback.commands._plan_models import Asked, Past, model_of
from vlfeedback.commands._plan_text import HERE, Assumptions, PlanRow
from vlfeedback.commands._plan_world import INJECTED, Seen, Size, check_options
from vlfeedback.config import EvaluateTable, PluginTable, Settings
from vlfeedback.errors import ConfigError, DataError
from vlfeedback.evaluate import Benchmark, Item, Judged
from vlfeedback.records import Answer
from vlfeedback.run_folder import roots_of


class _Judging(NamedTuple):
    """A benchmark's question to its judge: letters besides the answer (None without its data), runs, limit."""

    letters: float | None
    runs: int
    most: float


@dataclass(frozen=True)
class _Test:
    """What a benchmark asks of one model.

    Attributes:
        count: Its items; None where nobody knows.
        seen: Of its items; empty where its data are not here.
        most: Mean limit of an answer, tokens.
    """

    name: str
    table: EvaluateTable
    count: int | None
    seen: Sequence[Seen] = ()
    most: float = 512.0
    judging: _Judging | None = None


class _Model(NamedTuple):
    """Who answers: so many models that are asked alike (the base with and without its adapters are one)."""

    asked: Asked
    times: int


@dataclass
class Evaluation:
    """The rows of a plan's evaluation.

    Attributes:
        warnings: Benchmarks that could not be looked at.
    """

    settings: Settings
    rates: prices.Prices
    assume: Assumptions
    past: Past
    warnings: list[str] = field(default_factory=list[str])

    def rows(self) -> Iterator[PlanRow]:
        """Per benchmark one row for each model that answers, and one for its judge.

        Raises:
            ConfigError: a judge or an endpoint has no price, or an option is unknown.
            PluginError: there is no such benchmark.
        """
        models = list(self._models())
        for name, table in self.settings.evaluate.items() if models else ():
            test = self._test(name, table)
            if test.count is None:
                self.warnings.append(f"benchmark {name!r}: its data are not here, so its calls cannot be counted")
            count = test.count or 0
            for model in models:
                yield self._answers(test, model, count)
            if table.judge is not None:
                judge = model_of(table.judge, f"[evaluate.{name}.judge]", table.judge_in_flight, self.rates)
                yield self._judgements(test, judge, count * sum(model.times for model in models))

    def _models(self) -> Iterator[_Model]:
        asked = self.settings.train
        if asked.model:
            table = PluginTable.model_validate({"use": asked.use, "model": asked.model, **asked.options})
            policy = model_of(table, "[train]", 1, self.rates)
            yield _Model(policy, 2 + len(self.settings.control))
        for number, table in enumerate(self.settings.upper, 1):
            yield _Model(model_of(table, f"[[upper]] {number}", self.settings.decode.in_flight, self.rates), 1)

    def _answers(self, test: _Test, model: _Model, count: int) -> PlanRow:
        assume, asked = self.assume, model.asked
        letters = 1 / (asked.price.letters or assume.letters_per_token)
        if test.seen:
            text = _mean([one.letters * letters for one in test.seen])
            picture = _mean([asked.pictures(one) for one in test.seen])
        else:
            text, picture = assume.instruction, asked.pictures(Seen(0, (Size(assume.width, assume.height),)))
        counted = not (asked.price.local and asked.price.images is None)
        return self._row(
            "evaluate", test.name, asked, count * model.times, text, picture if counted else None,
            min(assume.response, test.most),
        )  # fmt: skip

    def _judgements(self, test: _Test, judge: Asked, answers: int) -> PlanRow:
        assume = self.assume
        judging = test.judging or _Judging(None, 1, assume.verdict)
        letters = 1 / (judge.price.letters or assume.letters_per_token)
        question = assume.judged if judging.letters is None else judging.letters * letters
        answer = min(assume.response, test.most)
        output = min(assume.verdict, judging.most)
        return self._row("grade", test.name, judge, answers * judging.runs, question + answer, 0.0, output)

    def _row(
        self, room: str, benchmark: str, model: Asked, calls: int, text: float, picture: float | None, output: float
    ) -> PlanRow:
        """A row from lengths of one call: those of the ledger, where it holds calls of this model for this purpose."""
        assume, price = self.assume, model.price
        seen = self.past.mean(room, model.identity)
        entered = seen.input if seen else text + (picture or 0.0)
        left = seen.output if seen else output
        once = seen.cost if seen else (entered * price.input + left * price.output) / 1e6
        here = model.host == HERE
        sends = 1.0 if here else 1 + assume.asked_again
        if here:
            hours = calls * left / assume.local_speed / 3600
        else:
            hours = calls * sends * (assume.latency + left / assume.speed) / model.in_flight / 3600
        pictures = None if picture is None or seen else round(calls * picture)
        return PlanRow(
            room, model.name, model.host, calls, round(calls * entered), pictures, round(calls * left),
            calls * sends * once, hours, measured=seen is not None, benchmark=benchmark,
        )  # fmt: skip

    def _test(self, name: str, table: EvaluateTable) -> _Test:
        use = table.use or name
        if ":" in use:  # code from outside is not imported for a plan
            return _Test(name, table, None)
        plugin, where = registry.find("evaluate", use), f"[evaluate.{name}]"
        check_options(table, registry.options(plugin.load, besides=INJECTED), where)
        options = dict(table.options)
        prompt = options.get("judge_prompt")
        if isinstance(prompt, str) and not Path(prompt).is_file():  # listed as missing; the words are assumed
            del options["judge_prompt"]
        with TemporaryDirectory() as unused:
            roots = roots_of(self.settings, Path(unused), fetch=False)
            benchmark: Any = registry.bind(plugin, options, where, inject={"roots": roots})
            if isinstance(benchmark, Judged) and table.judge is None:
                raise ConfigError(f'{benchmark.name} needs a judge: add {where[:-1]}.judge] with use = "openai", …')
            items = self._items(name, table, benchmark)
            return _described(name, table, benchmark, items)

    def _items(self, name: str, table: EvaluateTable, benchmark: Benchmark | Judged) -> list[Item]:
        path = table.options.get("path")
        if isinstance(path, str) and not Path(path).exists():  # listed as missing
            return []
        try:
            return list(benchmark.items())
        except DataError as problem:
            self.warnings.append(f"benchmark {name!r}: {problem}")
            return []


def _described(name: str, table: EvaluateTable, benchmark: Any, items: Sequence[Item]) -> _Test:
    judging = None
    if isinstance(benchmark, Judged):
        judging = _judging(benchmark, items)
    if not items:
        return _Test(name, table, _size(benchmark), most=getattr(benchmark, "max_tokens", 512), judging=judging)
    seen = [Seen(len(one.prompt), tuple(Size(image.width, image.height) for image in one.images)) for one in items]
    return _Test(name, table, len(items), seen, _mean([one.max_tokens for one in items]), judging)


def _judging(benchmark: Judged, items: Sequence[Item]) -> _Judging:
    asked = [
        benchmark.question(one, Answer("", one.item_id, one.cluster, one.stratum, "", "", "stop"), 0) for one in items
    ]
    if not asked:
        return _Judging(None, benchmark.runs, float("inf"))
    letters = [len(one.system) + sum(len(part.text or "") for part in one.parts) for one in asked]
    return _Judging(_mean(letters), benchmark.runs, _mean([one.sampling.max_tokens for one in asked]))


def _size(benchmark: Any) -> int | None:
    try:
        found = getattr(benchmark, "size", None)
    except DataError:  # told from files that are not here
        return None
    return found if isinstance(found, int) else None


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
