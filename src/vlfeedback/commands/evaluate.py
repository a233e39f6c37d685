"""`vlfeedback evaluate`: a run's models, or any model by itself; and an official judge prompt of the user's."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vlfeedback import config
from vlfeedback.commands.run import Opened, open_run
from vlfeedback.errors import ConfigError
from vlfeedback.registry import closest

ALONE: dict[str, Any] = {"source": [], "pool": [], "judge": [], "control": [], "train.model": "", "train.data": []}
"""What is taken out of settings whose benchmarks a model is asked by itself."""


def open_evaluation(
    target: Path,
    out: Path | None,
    *,
    models: Sequence[str] = (),
    base_url: str = "",
    base_only: bool = False,
    changes: Sequence[str] = (),
    judge_prompt: Sequence[str] = (),
) -> Opened:
    """The run folder in which models are evaluated; one of their own where they are asked by themselves.

    Args:
        target: A run folder, or a TOML with [images] and [evaluate.NAME].
        out: Run folder to make.
        models: Checkpoint folders, adapters, hub names or, with `base_url`, names of an endpoint; none for the run's.
        base_url: Where `models` are asked.
        base_only: Only the run's model before training.
        changes: From `--set`; options of the models are `upper.0.KEY`.
        judge_prompt: From `--judge-prompt`.
    Raises:
        ConfigError: no folder of their own is named for `models`, or two wishes contradict each other.
    """
    given = dict(map(config.assignment, [*changes, *prompt_changes(target, judge_prompt)]))
    if not models:
        if base_url:
            raise ConfigError("--base-url belongs to --model NAME: which model of that endpoint?")
        return open_run(target, out, given)
    if base_only:
        raise ConfigError("--base-only is the model of [train]; with --model only the models named there are asked.")
    if out is None:
        raise ConfigError("--model wants --out: a run folder of its own, to compare with others.")
    upper = [_table(name, base_url) for name in models]
    settings = target / "run.toml" if target.is_dir() else target
    if target.is_dir() and out.resolve() == target.resolve():
        raise ConfigError(f"{out} holds the run itself: give --model another --out.")
    return open_run(settings, out, {**ALONE, "upper": upper, **given})


def _table(name: str, base_url: str) -> dict[str, Any]:
    """A model that is named on the command line, as a table of [[upper]]."""
    if base_url:
        return {"use": "openai", "model": name, "base_url": base_url}
    folder = Path(name).expanduser()
    if not folder.is_dir():
        return {"use": "transformers", "model": name}
    adapter = folder / "adapter_config.json"
    if not adapter.is_file():
        return {"use": "transformers", "model": str(folder.resolve())}
    try:
        base = json.loads(adapter.read_text(encoding="utf-8"))["base_model_name_or_path"]
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"--model {name}: {adapter} does not name its base ({error!r}).") from error
    return {"use": "transformers", "model": str(base), "adapter": str(folder.resolve())}


def prompt_changes(target: Path, given: Sequence[str]) -> list[str]:
    """`--judge-prompt [NAME=]FILE` as changes of the settings.

    Args:
        target: A run folder or its settings; its judged benchmarks are those with a table [evaluate.NAME.judge].
        given: Files, each with its benchmark's name where there are several judged ones.
    Returns:
        `evaluate.NAME.judge_prompt="FILE"`, as for `--set`.
    Raises:
        ConfigError: no such file or benchmark, or it cannot be told whose prompt it is.
    """
    if not given:
        return []
    settings = config.load(target / "run.toml" if target.is_dir() else target)
    judged = [name for name, table in settings.evaluate.items() if table.judge is not None]
    found: list[str] = []
    for one in given:
        name, equals, file = one.partition("=")
        if not equals:
            if len(judged) != 1:
                listed = ", ".join(judged) or "none"
                raise ConfigError(f"--judge-prompt {one}: whose prompt is it? Write NAME=FILE; judged here: {listed}.")
            name, file = judged[0], one
        if name not in judged:
            raise ConfigError(f"--judge-prompt {one}: no judged benchmark is called {name!r}; {closest(name, judged)}")
        path = Path(file).expanduser().resolve()
        if not path.is_file():
            raise ConfigError(f"--judge-prompt {one}: {path} is no file.")
        found.append(f"evaluate.{name}.judge_prompt={json.dumps(str(path), ensure_ascii=False)}")
    return found
