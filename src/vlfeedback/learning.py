"""Rooms 5 and 6 of a run: the policy and its controls are trained, then all of them answer the same questions."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from vlfeedback import (
    config,
    evaluate as evaluate_room,
    flow,
    progress,
    tables,
    train as train_room,
    training_data,
)
from vlfeedback._learning_benchmarks import Grader, benchmarks_of, described, say_what_is_missing
from vlfeedback.config import ControlTable, PluginTable, Settings
from vlfeedback.errors import ConfigError, DataError
from vlfeedback.evaluate import Benchmark, Conditions, Decoding, Exporter, Item, Judged
from vlfeedback.ids import hash_id
from vlfeedback.locks import follower
from vlfeedback.models import Model
from vlfeedback.pipeline import Outcome
from vlfeedback.recipes import objective_of, recipe_of
from vlfeedback.records import Answer, Dropped, ItemScore, Judgement, Score
from vlfeedback.run_folder import RunFolder, inputs_digest
from vlfeedback.run_models import LOCAL_IN_FLIGHT, Access, close, is_local
from vlfeedback.train import TrainResult
from vlfeedback.train._note import is_finished, read_note
from vlfeedback.training_data import TrainingData


class Trained(NamedTuple):
    """A policy after training.

    Attributes:
        name: Identity of the base + what was done to it, as in the tables.
        identity: The same with a hash of data and settings, so that no other training's answers are taken for its own.
        folder: Its checkpoint.
        made_as: Hash of what its weights were made of; the checkpoint's note has that of the weights that are there.
    """

    name: str
    identity: str
    folder: Path
    made_as: str


class Asked(NamedTuple):
    """A model to evaluate, under the name that stands in the tables."""

    name: str
    model: Model


def policy(run: RunFolder, reach: Access) -> Any:
    """The model of [train] before training.

    Raises:
        ConfigError: none is named, or it is not one whose weights can be trained here.
    """
    asked = run.settings.train
    if not asked.model:
        raise ConfigError('[train] names no model: add model = "PATH_OR_NAME" of a vision-language model.')
    table = PluginTable.model_validate({"use": asked.use, "model": asked.model, **asked.options})
    model = reach.bare(table, "[train]")
    if not hasattr(model, "weights"):
        raise ConfigError(f"[train] use = {asked.use!r} gives no weights that could be trained: use transformers.")
    return model


def folder_of(run: RunFolder, control: ControlTable | None) -> Path:
    """Where a training's checkpoint lies: `checkpoint/`, or `controls/NAME/checkpoint/`."""
    if control is None:
        return run.path / "checkpoint"
    return run.path / "controls" / re.sub(r"[^\w.-]+", "-", control.name) / "checkpoint"


def with_control(settings: Settings, control: ControlTable) -> Settings:
    """Settings of a control.

    Raises:
        ConfigError: it changes anything but [pair] and [train], which would no longer be the same experiment.
    """
    for key in control.set:
        if key.split(".")[0] not in {"pair", "train"}:
            raise ConfigError(f"[[control]] {control.name!r} sets {key!r}: a control changes [pair] or [train] only.")
    return config.changed(settings, control.set, f"[[control]] {control.name!r}")


def _trained(run: RunFolder, base: Any, control: ControlTable | None) -> Trained:
    settings = run.settings if control is None else with_control(run.settings, control)
    name = f"{base.identity}+{settings.train.name if control is None else control.name}"
    # Who watches changes nothing, and the digest says what is read, wherever it lies.
    asked = settings.train.model_dump(mode="json", exclude={"report_to", "data"})
    for option, default in (("where", ""), ("quantization", "none")):
        if asked[option] == default:
            del asked[option]
    made_from = training_data.digest(replace(run, settings=settings))
    paired = settings.pair.model_dump(mode="json")
    key = hash_id("trained", base.identity, made_from, paired, asked)
    # How a model is called and asked, and where its base lies, changes none of its weights.
    decisive = {option: value for option, value in asked.items() if option not in ("name", "use", "options", "model")}
    made_as = hash_id("made as", base.identity.partition(";dtype=")[0], made_from, paired, decisive)
    return Trained(name, f"{name}@{key[:12]}", folder_of(run, control), made_as)


def train(run: RunFolder, reach: Access) -> list[Outcome]:
    """Room 5: groups → checkpoint, and a checkpoint for every [[control]]."""
    training_data.folders(run)  # what is not there is said before any weights are loaded
    base = policy(run, reach)
    own = training_data.load(run)
    result = _fit(run, reach, run.settings, own, _trained(run, base, None), base.weights)
    dropped = [*result.dropped, *own.filtered]
    if not follower():
        tables.write(run.dropped("train"), Dropped, dropped, room="train", inputs=training_data.digest(run))
    outcomes = [Outcome("train", result.trained, len(dropped))]
    for control in run.settings.control:
        settings = with_control(run.settings, control)
        data = own if _same_data(settings, run.settings) else _data_of(run, settings, reach)
        done = _fit(run, reach, settings, data, _trained(run, base, control), base.weights)
        outcomes.append(Outcome(f"train {control.name}", done.trained, len(done.dropped) + len(data.filtered)))
    return outcomes


def _same_data(one: Settings, other: Settings) -> bool:
    return (one.pair, one.train.data, one.train.where) == (other.pair, other.train.data, other.train.where)


def _data_of(run: RunFolder, settings: Settings, reach: Access) -> TrainingData:
    """What a control trains on, paired by its own strategy where it has one."""
    pairing = None if settings.pair == run.settings.pair else settings.pair
    return training_data.load(replace(run, settings=settings), pairing, allow_plugins=reach.allow_plugins)


def _fit(
    run: RunFolder, reach: Access, settings: Settings, data: TrainingData, made: Trained, weights: str
) -> TrainResult:
    return train_room.train(
        data.groups,
        recipe_of(settings.train, weights),
        roots=data.pictures,
        out=made.folder,
        objective=objective_of(settings.train.loss, allow_plugins=reach.allow_plugins),
        reference=run.path / "checkpoint" / "reference.jsonl",  # found by content: what sees the same is not run again
        made_as=made.made_as,
    )


def evaluate(run: RunFolder, reach: Access) -> list[Outcome]:
    """Room 6: base, aligned, controls and upper bounds × benchmarks → answers, item scores, scores, comparisons.

    Raises:
        ConfigError: no benchmark or no model is named, a training has no checkpoint, or a judge is missing.
        DataError: too many items of a benchmark have no reply.
    """
    benchmarks = benchmarks_of(run, reach)
    asked = list(_asked(run, reach))
    if not asked:
        raise ConfigError("no model is named that could answer: add [train] model or [[upper]], or say --model NAME.")
    failed_before = reach.counters.failed
    tables_of = {name: described(table) for name, table in run.settings.evaluate.items()}
    judges = [test.judge and test.judge.model.identity for test in benchmarks]
    protocols = [test.benchmark.protocol for test in benchmarks]
    inputs = inputs_digest("evaluate", tables_of, [[one.name, one.model.identity] for one in asked], protocols, judges)
    if run.fresh("scores", inputs) and run.fresh("answers", inputs):
        found = run.need("scores", "evaluate")
        return [Outcome("evaluate", found.rows, 0, reused=True)]
    answers: list[Answer] = []
    judged: list[Judgement] = []
    known: list[Conditions] = []
    scored: list[ItemScore] = []
    per_model: list[tuple[Benchmark | Judged, list[ItemScore]]] = []
    for benchmark, judge, decoding in benchmarks:
        items = list(benchmark.items())
        say_what_is_missing(benchmark, len(items))
        for one in asked:
            known.append(_conditions(benchmark, items, one, decoding))
            mine = _ask(benchmark, items, one, asked, decoding)
            said = _judge(benchmark, items, mine, judge, one) if isinstance(benchmark, Judged) and judge else []
            if flow.interrupted():  # its answers are in the ledger; half a benchmark is no result
                return [Outcome("evaluate", len(mine), 0, complete=False)]
            answers += mine
            judged += said
            found = evaluate_room.item_scores(benchmark, items, mine, said)
            scored += found
            per_model.append((benchmark, found))
            if isinstance(benchmark, Exporter):
                name = re.sub(r"[^\w.+-]+", "-", one.name)
                benchmark.export(run.path / "official" / benchmark.name / name, items, mine, said)
    close([*(one.model for one in asked), *(test.judge.model for test in benchmarks if test.judge)])
    # Written before anything is summed up: a benchmark that refuses a sum leaves its answers to look at.
    tables.write(run.table("answers"), Answer, answers, room="evaluate", inputs=inputs)
    if judged:
        tables.write(run.table("judgements"), Judgement, judged, room="evaluate", inputs=inputs)
    else:
        run.table("judgements").unlink(missing_ok=True)
    tables.write(run.table("item_scores"), ItemScore, scored, room="evaluate", inputs=inputs)
    rows = _compared(asked, scored)
    _write_json(run.path / "comparisons.json", rows)
    told = {"conditions": [one.to_json() for one in known], "drift": _drifted(asked, scored)}
    _write_json(run.path / "evaluation.json", told)
    scores, refused = _summed_up(per_model)
    whole = not refused and reach.counters.failed == failed_before  # else the next run asks again
    tables.write(run.table("scores"), Score, scores, room="evaluate", inputs=inputs, complete=whole)
    if refused:
        raise DataError("\n".join(refused))
    _write_cards(run, reach, rows)
    return [Outcome("evaluate", len(scores), 0, complete=whole)]


class _Sums(NamedTuple):
    """Results, and why some models have none on some benchmarks."""

    scores: list[Score]
    refused: list[str]


def _summed_up(per_model: Iterable[tuple[Benchmark | Judged, list[ItemScore]]]) -> _Sums:
    """One benchmark that has no headline takes nothing from the others."""
    found = _Sums([], [])
    for benchmark, scored in per_model:
        try:
            found.scores.extend(benchmark.summarise(scored))
        except DataError as error:
            found.refused.append(str(error))
    return found


def _judge(benchmark: Judged, items: list[Item], answers: list[Answer], judge: Grader, one: Asked) -> list[Judgement]:
    stream = evaluate_room.judgements(
        benchmark, items, answers, judge.model, in_flight=judge.in_flight, clock=judge.clock
    )
    total = benchmark.runs * sum(answer.finish != "error" for answer in answers)
    return list(progress.track(stream, f"judge {one.name}", total, "judgements"))


def _asked(run: RunFolder, reach: Access) -> Iterable[Asked]:
    if run.settings.train.model:
        base = policy(run, reach)
        yield Asked(base.identity, reach.ledgered(base))
        for control in () if reach.base_only else (None, *run.settings.control):
            one = _trained(run, base, control)
            _require_finished(run, one)
            yield Asked(one.name, reach.ledgered(_load_trained(run, base, one)))
    for number, table in enumerate(run.settings.upper, 1):
        model = reach.bare(table, f"[[upper]] {number}")
        yield Asked(model.identity, reach.ledgered(model))


def _require_finished(run: RunFolder, one: Trained) -> None:
    """Refuse weights that are not those of the present settings: their answers would be kept under a wrong name.

    A note that does not say what its weights were made of is of an earlier version, and is believed.
    """
    if not is_finished(one.folder):
        problem = "has no finished checkpoint"
    elif read_note(one.folder).get("made_as", one.made_as) != one.made_as:
        problem = "was made of other data or settings than the present ones"
    else:
        return
    raise ConfigError(
        f"{one.folder} {problem}: run `vlfeedback train {run.path}` first, or `vlfeedback evaluate … --base-only` for "
        "the model before training alone."
    )


def _load_trained(run: RunFolder, base: Any, one: Trained) -> Model:
    """An aligned policy: the base with its adapter on, or weights of its own; asked just as the base is."""
    from vlfeedback.models import transformers

    adapter = one.folder / "adapter_config.json"
    start = _tuned_start(one.folder, adapter) if adapter.exists() else None
    if adapter.exists() and start is None:
        return base.with_adapter(str(one.folder), one.identity)
    known = base.number_format  # `auto` would take the format that training kept its weights in
    return transformers.load(
        model=start or str(one.folder),
        roots=run.roots,
        identity=one.identity,
        batch=base.batch,
        dtype=known,
        device=base.device,
        adapter=str(one.folder) if start else None,
    )


def _tuned_start(folder: Path, adapter: Path) -> str | None:
    """The full weights that an adapter was trained on, where `init` gave others than the base's."""
    settings: dict[str, Any] = read_note(folder).get("settings") or {}
    start = settings.get("init")
    named = json.loads(adapter.read_text(encoding="utf-8")).get("base_model_name_or_path")
    return start if start is not None and named == start else None


def _conditions(benchmark: Benchmark | Judged, items: list[Item], one: Asked, decoding: Decoding) -> Conditions:
    recipe = getattr(one.model, "recipe", "original")
    inner = getattr(one.model, "inner", one.model)
    dtype = str(getattr(inner, "number_format", evaluate_room.UNKNOWN if is_local(inner) else ""))
    return evaluate_room.conditions(benchmark, items, model=one.name, recipe=recipe, dtype=dtype, decoding=decoding)


def _ask(
    benchmark: Benchmark | Judged, items: list[Item], one: Asked, everyone: list[Asked], decoding: Decoding
) -> list[Answer]:
    inner = getattr(one.model, "inner", one.model)
    # Whoever shares this model's weights stays in memory: the base and its adapters are one checkpoint.
    share: Callable[[object], bool] | None = getattr(inner, "shares_weights", None)
    others: list[Any] = [getattr(other.model, "inner", other.model) for other in everyone]
    close(one for one in others if one is not inner and is_local(one) and not (share and share(one)))
    in_flight = LOCAL_IN_FLIGHT * int(getattr(inner, "batch", 16))
    stream = evaluate_room.answers(
        items, one.model, benchmark=benchmark.name, model_name=one.name, in_flight=in_flight, decoding=decoding
    )
    return list(progress.track(stream, f"evaluate {one.name}", len(items), "items"))


def _by_model(scored: list[ItemScore]) -> dict[str, list[ItemScore]]:
    found: dict[str, list[ItemScore]] = {}
    for score in scored:
        found.setdefault(score.answer.model, []).append(score)
    return found


def _compared(asked: list[Asked], scored: list[ItemScore]) -> list[dict[str, Any]]:
    """Every model against the base (without one, against the first), on the items both have."""
    by_model = _by_model(scored)
    base, *others = (one.name for one in asked)
    return [
        row.to_json() for other in others for row in evaluate_room.compare(by_model[base], by_model[other], parts=True)
    ]


def _drifted(asked: list[Asked], scored: list[ItemScore]) -> list[dict[str, Any]]:
    """How the form of every model's answers differs from the base's."""
    by_model = _by_model(scored)
    base, *others = (one.name for one in asked)
    return [one.to_json() for other in others for one in evaluate_room.drift(by_model[base], by_model[other])]


def _write_json(path: Path, content: object) -> None:
    part = path.with_suffix(".part")
    part.write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")
    part.replace(path)


def _write_cards(run: RunFolder, reach: Access, rows: list[dict[str, Any]]) -> None:
    """Scores into the model card of every training."""
    if reach.base_only or not run.settings.train.model:
        return
    from vlfeedback.train._model_card import ScoreRow, add_scores

    base = policy(run, reach)
    for control in (None, *run.settings.control):
        trained = _trained(run, base, control)
        mine = [row for row in rows if row["other"] == trained.name and "/" not in row["metric"]]
        names = ("protocol", "metric", "base_value", "other_value", "difference", "ci_low", "ci_high", "n", "judge")
        add_scores(trained.folder, [ScoreRow(*(row[name] for name in names)) for row in mine])
