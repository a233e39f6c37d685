"""The rooms as five functions, for scripts and notebooks.

from vlfeedback.api import collect, compare, evaluate, pair, train

run = collect("run.toml", out="runs/mine")
pair(run), train(run), evaluate(run)
for row in compare(run):
    print(row)
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlfeedback.errors import ConfigError
from vlfeedback.run_folder import RunFolder

if TYPE_CHECKING:
    from vlfeedback.train._trainer import GroupedDPOTrainer


def collect(settings: str | Path, *, out: str | Path | None = None, engine: str = "local", **changes: Any) -> RunFolder:
    """Read the sources, ask the pool and the judge; calls that are in the ledger already are not made again.

    Args:
        settings: A run.toml, or a run folder to go on with.
        out: The run folder; default `runs/NAME`.
        engine: Who asks pool and judge: `local`, this process, or `ray`, the workers of a cluster.
        changes: Settings by key, a dot written as two underscores: `decode__k=2`.
    Raises:
        VLFeedbackError: see `errors`; everything that was collected until then is kept.
    """
    from vlfeedback.commands.run import open_run

    dotted = {key.replace("__", "."): value for key, value in changes.items()}
    run = open_run(Path(settings), None if out is None else Path(out), dotted).run
    return _through(run, "source", "annotate", engine)


def pair(run: RunFolder | str | Path, **changes: Any) -> RunFolder:
    """Turn ratings into preference pairs; `pair(run, use="best_worst")` changes the rule."""
    return _through(_with(run, "pair", changes), "pair", "pair")


def train(run: RunFolder | str | Path, **changes: Any) -> RunFolder:
    """Train the policy, and a checkpoint for every [[control]]; `train(run, epochs=1)` changes a setting."""
    return _through(_with(run, "train", changes), "train", "train")


def evaluate(run: RunFolder | str | Path, *, base_only: bool = False) -> RunFolder:
    """Ask base, aligned and controls every benchmark, and write report.html.

    Args:
        base_only: Ask the model before training alone; nothing needs to have been trained.
    """
    return _through(_with(run, "", {}), "evaluate", "report", base_only=base_only)


def compare(run: RunFolder | str | Path) -> list[dict[str, Any]]:
    """Paired differences of every evaluated model to the base, with 95 % intervals.

    Raises:
        ConfigError: nothing was evaluated yet.
    """
    path = _with(run, "", {}).path / "comparisons.json"
    if not path.exists():
        raise ConfigError(f"{path} is not there: call evaluate(run) first.")
    return json.loads(path.read_text(encoding="utf-8"))


def trainer(
    rows: Iterable[Mapping[str, Any]],
    model: str | Path,
    *,
    out: str | Path,
    loss: str | Mapping[str, Any] | None = None,
    images: str | Path | None = None,
    eval_share: float = 0.0,
    **settings: Any,
) -> GroupedDPOTrainer:
    """A trainer for preference rows, ready to `train()`: a `transformers.Trainer` that takes callbacks and trackers.

    Rows of one prompt and picture become one group, whose picture and prompt are computed once. The reference is
    computed here, before the first step, and kept in `out`; called again with the same data, nothing is computed twice,
    and `train(resume_from_checkpoint=True)` goes on where a killed training stopped.

    Args:
        rows: With `prompt`, `chosen`, `rejected` and `images` as TRL's trainers take them: a list of dictionaries or a
            `datasets.Dataset`; pictures are PIL pictures, bytes or paths.
        model: Folder or hub name of a vision-language model.
        out: Folder of the checkpoint.
        loss: Name of the objective, or a table of it and its options; default `{"use": "sigmoid", "beta": 0.1}`.
        images: Folder or `.zip` below which paths are looked up.
        eval_share: Share of pictures held out and evaluated after each epoch, 0 to 1.
        settings: Fields of `vlfeedback.train.Recipe`: `learning_rate=1e-5`, `epochs=3`, `lora=Lora(r=64)` (or a table
            of its fields; None trains all weights), …
    Raises:
        DataError: no row can be used.
        ConfigError: a setting or option is unknown, of the wrong type or out of range, or `rows` are no rows.
        PluginError: there is no such objective.
    """
    from vlfeedback import rows as in_memory
    from vlfeedback.recipes import asked_from_python
    from vlfeedback.train import run_key
    from vlfeedback.train._run import prepare

    recipe, objective, share = asked_from_python(model, loss, eval_share, settings)
    folder = Path(out)
    data = in_memory.grouped(rows, folder / "images", images=None if images is None else Path(images), eval_share=share)
    first = {one.reason: one for one in reversed(data.dropped)}
    for reason, count in Counter(one.reason for one in data.dropped).most_common():
        why = ": ".join(filter(None, (first[reason].record_id, first[reason].detail[:300])))
        print(f"{count:,} left out: {reason} ({'first of them ' if count > 1 else ''}{why})", file=sys.stderr)
    for what, count in data.noticed.items():
        print(f"{count:,} {what}", file=sys.stderr)
    key = run_key(data.groups, recipe, objective)
    ready = prepare(
        data.groups, recipe, roots=data.pictures, out=folder, objective=objective, key=key,
        stored=folder / "reference.jsonl",
    )  # fmt: skip
    return ready.trainer


def _with(run: RunFolder | str | Path, section: str, changes: dict[str, Any]) -> RunFolder:
    from vlfeedback import config

    opened = run if isinstance(run, RunFolder) else RunFolder.open(Path(run))
    if not changes:
        return opened
    dotted = {f"{section}.{key.replace('__', '.')}": value for key, value in changes.items()}
    return RunFolder(opened.path, config.changed(opened.settings, dotted, section), written=False)


def _through(run: RunFolder, first: str, last: str, engine: str = "local", *, base_only: bool = False) -> RunFolder:
    from vlfeedback import pipeline
    from vlfeedback.commands.finished import left, pictures_in, waiting_in

    done = pipeline.run_rooms(run, first, last, engine=engine, base_only=base_only)
    if words := left(done.unanswered, waiting_in(done), pictures_in(done)):
        print(words, file=sys.stderr, flush=True)
    return RunFolder(run.path, run.settings)  # run.toml says the same by now
