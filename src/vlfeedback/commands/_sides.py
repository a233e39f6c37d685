"""What `vlfeedback compare` reads: the models of a run folder with their item scores and conditions."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from vlfeedback import tables
from vlfeedback.commands._scored import engine_of, read
from vlfeedback.errors import ConfigError, DataError
from vlfeedback.evaluate import UNKNOWN, Conditions, Question, asked
from vlfeedback.ledger import Ledger
from vlfeedback.records import ItemScore
from vlfeedback.run_folder import RunFolder

CONDITIONS = "evaluation.json"
"""Beside the tables: under which conditions every model was asked."""


class Model(NamedTuple):
    """A model of a run: its item scores, and the conditions of each benchmark and protocol."""

    scores: list[ItemScore]
    conditions: list[Conditions]

    @property
    def name(self) -> str:
        """As in the tables."""
        return self.scores[0].answer.model

    @property
    def said(self) -> dict[tuple[str, str, str], tuple[str, float | None]]:
        """Every answer and what it was worth, by benchmark, item and metric: a judge may change its mind."""
        return {
            (one.answer.benchmark, one.answer.item_id, one.metric): (one.answer.text, one.value) for one in self.scores
        }


def models_of(run: Path) -> dict[str, Model]:
    """The models of a run by what was done to the base: empty for the base itself, `+dpo` for the aligned model.

    Args:
        run: A run folder; or what lmms-eval or VLMEvalKit wrote, a file or folder, which is read as it is.
    Raises:
        ConfigError: the folder has no item scores.
        DataError: a file in it is damaged.
    """
    path, found = run / "item_scores.parquet", dict[str, list[ItemScore]]()
    engine = None if path.is_file() else engine_of(run)
    if engine is not None:
        told = read(engine.sheets(run, Counter()))
        _sort(told.item_scores, found)
        recorded = told.conditions
    elif not path.is_file():
        raise ConfigError(f"{run} has no item_scores.parquet: run `vlfeedback evaluate {run}` first.")
    else:
        _sort(tables.read(path, ItemScore), found)
        recorded = list(_recorded(run, found))
    if not found:
        raise ConfigError(f"{path} is empty: run `vlfeedback evaluate {run}` first.")
    models = {name: Model(scores, conditions_of(scores, recorded)) for name, scores in found.items()}
    parents = [model for model in found if any(other.startswith(f"{model}+") for other in found)]
    base = min(parents or found, key=len)
    named = {name.removeprefix(base) if name.startswith(f"{base}+") else name: models[name] for name in models}
    return {"": named.pop(base), **named}


def _sort(scores: Iterable[ItemScore], found: dict[str, list[ItemScore]]) -> None:
    for score in scores:
        found.setdefault(score.answer.model, []).append(score)


def conditions_of(scores: list[ItemScore], recorded: list[Conditions]) -> list[Conditions]:
    """Conditions of one model: those recorded, with protocol and judge as the scores themselves have them."""
    judges: dict[tuple[str, str], set[str]] = {}
    for score in scores:
        judges.setdefault((score.answer.benchmark, score.protocol), set()).add(score.judge or "")
    answered = {(one.answer.benchmark, one.protocol) for one in scores if one.state != "failed"}
    found: list[Conditions] = []
    for (benchmark, protocol), names in judges.items():
        known = [
            one for one in recorded
            if (one.benchmark, one.protocol, one.model) == (benchmark, protocol, scores[0].answer.model)
        ]  # fmt: skip
        judge = ", ".join(sorted(name for name in names if name))
        if not judge and (benchmark, protocol) not in answered:  # nobody was judged, so nobody can say by whom
            judge = UNKNOWN
        fresh = Conditions(benchmark, protocol, scores[0].answer.model, judge_prompt=UNKNOWN if judge else "")
        found.append(replace(known[0] if known else fresh, judge=judge))
    return found


def _recorded(run: Path, found: dict[str, list[ItemScore]]) -> Iterator[Conditions]:
    path = run / CONDITIONS
    if not path.exists():
        yield from _from_ledger(run, found)
        return
    try:
        rows: Any = json.loads(path.read_text(encoding="utf-8"))
        yield from [Conditions.from_json(row) for row in rows["conditions"]]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is damaged ({error}). Run `vlfeedback evaluate {run}` again.") from error


def _from_ledger(run: Path, found: dict[str, list[ItemScore]]) -> Iterator[Conditions]:
    """What the ledger knows of a run that was evaluated before conditions were kept: prompts and decoding."""
    path = RunFolder.open(run).ledger_path if (run / "run.toml").exists() else run / "ledger.sqlite"
    if not path.exists():
        return
    ledger = Ledger.open(path, write=False)
    try:
        for model, scores in found.items():
            questions: dict[tuple[str, str], dict[str, str]] = {}
            for score in scores:
                call = ledger.find(score.answer.call_key) if score.answer.call_key else None
                if call is not None:
                    asked_there = questions.setdefault((score.answer.benchmark, score.protocol), {})
                    asked_there[score.answer.item_id] = call.request
            for (benchmark, protocol), items in questions.items():
                known = asked(Question(item, request) for item, request in items.items())
                yield Conditions(benchmark, protocol, model, UNKNOWN, *known[:2], recipe=known.recipe)
    finally:
        ledger.close()
