"""Settings as text and plain tables: one `key=value`, absolute paths, values without None, flat keys."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

from vlfeedback.errors import ConfigError


def assignment(text: str) -> tuple[str, Any]:
    """Read one `key=value` of `--set`; the value is TOML, and a bare word is taken as text.

    Raises:
        ConfigError: there is no `=`.
    """
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"--set {text!r}: write it as key=value, such as --set train.learning_rate=1e-5")
    try:
        return key.strip(), tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key.strip(), value.strip()


def without_none(value: Any) -> Any:
    """A value without the keys whose value is None, which TOML cannot write."""
    if isinstance(value, dict):
        return {key: without_none(one) for key, one in cast("dict[str, Any]", value).items() if one is not None}
    if isinstance(value, list | tuple):
        return [without_none(one) for one in cast("Sequence[Any]", value)]
    return value


def flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Dotted key → value, for every value of a nested table."""
    if isinstance(value, dict):
        items = [(str(key), one) for key, one in cast("dict[str, Any]", value).items()]
    elif isinstance(value, list | tuple):
        items = [(str(index), one) for index, one in enumerate(cast("Sequence[Any]", value))]
    else:
        return {prefix: value}
    found: dict[str, Any] = {}
    for key, one in items:
        found |= flat(one, f"{prefix}.{key}" if prefix else key)
    return found


FILES = ("path", "templates", "behaviours", "judge_prompt")
"""Options of plug-ins that are paths, relative to run.toml."""


def anchor(data: dict[str, Any], folder: Path) -> None:
    """Make relative paths absolute, so that a run folder can be resumed from anywhere."""

    def anchored(value: object) -> object:
        return str(folder / Path(value).expanduser()) if isinstance(value, str) and value else value

    images = data.get("images")
    if isinstance(images, dict):
        data["images"] = {key: anchored(value) for key, value in cast("dict[str, Any]", images).items()}
    for key in ("ledger", "prices"):
        _anchor_paths(data.get(key), anchored)
    for one in data.get("source", []):
        _anchor_paths(one, anchored)
    evaluate = data.get("evaluate")
    if isinstance(evaluate, dict):
        for one in cast("dict[str, Any]", evaluate).values():
            _anchor_paths(one, anchored)
    if isinstance(train := data.get("train"), dict):
        _anchor_training(cast("dict[str, Any]", train), folder, anchored)


def _anchor_training(table: dict[str, Any], folder: Path, anchored: Callable[[object], object]) -> None:
    """Run folders are paths; `model` and `init` may be names of a hub, and are paths where such a folder is there."""
    if isinstance(table.get("data"), list):
        table["data"] = [anchored(one) for one in table["data"]]
    for key in ("model", "init"):
        if isinstance(name := table.get(key), str) and name and (folder / Path(name).expanduser()).exists():
            table[key] = anchored(name)


def _anchor_paths(table: Any, anchored: Callable[[object], object]) -> None:
    if not isinstance(table, dict):
        return
    options = cast("dict[str, Any]", table)
    for key in FILES:
        if key in options:
            options[key] = anchored(options[key])
