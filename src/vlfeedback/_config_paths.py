"""Relative paths in settings made absolute, so that a run folder can be resumed from anywhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

FILES = ("path", "templates", "behaviours", "judge_prompt")
"""Options of plug-ins that are paths, relative to run.toml."""

BESIDE = ("prompts", "templates", "behaviours")
"""Options of sources that are paths; where they are still relative, it is to the source's own `path`."""

PATH_LIKE = ("/", "./", "../", "~")
"""How a model's name begins where it is a folder and no name of a hub."""

FROM_FOLDERS = ("transformers", "vllm")
"""Plug-ins of models whose names may be folders; for others a name is what an endpoint calls it."""


def anchor(data: dict[str, Any], folder: Path) -> None:
    """Make the relative paths of a whole run.toml absolute.

    Args:
        data: Changed in place; what is no path, or no table where one should be, is left for `parse` to refuse.
        folder: What they are relative to.
    """

    def anchored(value: object) -> object:
        return str(folder / Path(value).expanduser()) if isinstance(value, str) and value else value

    images = data.get("images")
    if isinstance(images, dict):
        data["images"] = {key: anchored(value) for key, value in cast("dict[str, Any]", images).items()}
    for section in ("ledger", "prices"):
        _anchor_files(data.get(section), anchored)
    for one in _tables(data.get("source")):
        _anchor_files(one, anchored)
    for section in ("pool", "judge", "upper"):
        for one in _tables(data.get(section)):
            _anchor_weights(one, folder)
    evaluate = data.get("evaluate")
    if isinstance(evaluate, dict):
        for one in cast("dict[str, Any]", evaluate).values():
            _anchor_files(one, anchored)
            _anchor_judge(one, folder)
    if isinstance(train := data.get("train"), dict):
        _anchor_training(cast("dict[str, Any]", train), "", folder, anchored)
    for one in _tables(data.get("control")):
        if isinstance(one.get("set"), dict):
            _anchor_training(one["set"], "train.", folder, anchored)


def _tables(value: Any) -> Iterator[dict[str, Any]]:
    """The tables of a list of tables, if it is one."""
    for one in cast("list[Any]", value) if isinstance(value, list | tuple) else ():
        if isinstance(one, dict):
            yield cast("dict[str, Any]", one)


def _anchor_files(table: Any, anchored: Callable[[object], object]) -> None:
    if not isinstance(table, dict):
        return
    options = cast("dict[str, Any]", table)
    for key in FILES:
        if key in options:
            options[key] = anchored(options[key])


def _anchor_judge(benchmark: Any, folder: Path) -> None:
    if isinstance(benchmark, dict) and isinstance(judge := cast("dict[str, Any]", benchmark).get("judge"), dict):
        _anchor_weights(cast("dict[str, Any]", judge), folder)


def _anchor_weights(table: dict[str, Any], folder: Path) -> None:
    """Who a model is does not change with it: a folder is known by its name and content, wherever it lies."""
    if table.get("use") in FROM_FOLDERS:
        for key in ("model", "adapter"):
            _anchor_name(table, key, folder)


def _anchor_training(table: dict[str, Any], prefix: str, folder: Path, anchored: Callable[[object], object]) -> None:
    """Run folders are paths; `model` and `init` may be names of a hub."""
    runs = table.get(f"{prefix}data")
    if isinstance(runs, list | tuple):
        table[f"{prefix}data"] = [anchored(one) for one in cast("list[Any]", runs)]
    for key in ("model", "init"):
        _anchor_name(table, f"{prefix}{key}", folder)


def _anchor_name(table: dict[str, Any], key: str, folder: Path) -> None:
    """A name is a path where it begins like one, or where such a folder is there; else it is a hub's."""
    name = table.get(key)
    if isinstance(name, str) and name:
        place = folder / Path(name).expanduser()
        if name.startswith(PATH_LIKE) or _is_there(place):
            table[key] = str(place)


def _is_there(place: Path) -> bool:
    try:
        return place.exists()
    except OSError:  # too long for a file, or in a room that is not ours
        return False
