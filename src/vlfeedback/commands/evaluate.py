"""`vlfeedback evaluate --judge-prompt`: an official judge prompt of the user's, and the benchmark it belongs to."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from vlfeedback.errors import ConfigError
from vlfeedback.registry import closest
from vlfeedback.run_folder import RunFolder


def prompt_changes(run_dir: Path, given: Sequence[str]) -> list[str]:
    """`--judge-prompt [NAME=]FILE` as changes of the settings.

    Args:
        run_dir: A run folder; its judged benchmarks are those with a table [evaluate.NAME.judge].
        given: Files, each with its benchmark's name where there are several judged ones.
    Returns:
        `evaluate.NAME.judge_prompt="FILE"`, as for `--set`.
    Raises:
        ConfigError: no such file or benchmark, or it cannot be told whose prompt it is.
    """
    if not given:
        return []
    judged = [name for name, table in RunFolder.open(run_dir).settings.evaluate.items() if table.judge is not None]
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
