"""Settings as text and plain tables: one `key=value`, absolute paths, flat keys, values for all, mistakes in words."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from pydantic import BaseModel, ValidationError

from vlfeedback import toml_text
from vlfeedback.errors import ConfigError
from vlfeedback.registry import closest


def assignment(text: str) -> tuple[str, Any]:
    """Read one `key=value` of `--set`; the value is TOML, and a bare word is taken as text.

    Raises:
        ConfigError: there is no `=`.
    """
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"--set {text!r}: write it as key=value, such as --set train.learning_rate=1e-5")
    try:
        return key.strip(), toml_text.loads(f"value = {value}")["value"]
    except toml_text.TOMLError:
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


def spread(data: dict[str, Any], section: str, keys: tuple[str, ...]) -> dict[str, Any]:
    """Plain values of a section of tables, handed down to those of its tables that do not say otherwise.

    Raises:
        ValueError: a plain value is none that may stand there.
    """
    found: Any = data.get(section)
    if not isinstance(found, Mapping):
        return data
    tables = cast("Mapping[str, Any]", found)
    plain = {key: value for key, value in tables.items() if not isinstance(value, Mapping | BaseModel)}
    for key in plain:
        if key not in keys:
            raise ValueError(f"[{section}] {key} is no table, and no setting for all of them; {closest(key, keys)}")
    named = {name: one for name, one in tables.items() if name not in plain}
    return {**data, section: {name: {**plain, **dict(one)} for name, one in named.items()} if plain else named}


def for_all(
    assignments: Mapping[str, Any], section: str, keys: tuple[str, ...], tables: Iterable[str]
) -> dict[str, Any]:
    """Assignments in which one for a whole section is one for each of its tables."""
    found: dict[str, Any] = {}
    for key, value in assignments.items():
        whole = key.removeprefix(f"{section}.")
        if key != whole and whole in keys:
            found |= {f"{section}.{name}.{whole}": value for name in tables}
        else:
            found[key] = value
    return found


def _known_at(location: Sequence[str | int], settings: type[BaseModel]) -> list[str]:
    """Keys that may stand in the table where an unknown one was found."""
    model: Any = settings
    for part in location:
        if isinstance(part, str) and hasattr(model, "model_fields") and part in model.model_fields:
            model = model.model_fields[part].annotation
        for inner in getattr(model, "__args__", ()):
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                model = inner
    return sorted(getattr(model, "model_fields", {}))


def explain(error: ValidationError, where: str, settings: type[BaseModel]) -> ConfigError:
    """What is wrong with a run.toml, in words."""
    lines: list[str] = []
    for one in error.errors():
        *table, key = one["loc"] or ("",)
        place = ".".join(str(part) for part in table) or "the top level"
        name = ".".join(str(part) for part in one["loc"])
        if one["type"] == "extra_forbidden":
            lines.append(f"{where}: unknown key {key!r} in {place}; {closest(str(key), _known_at(table, settings))}")
        elif not name:
            lines.append(f"{where}: {one['msg'].removeprefix('Value error, ')}")
        else:
            lines.append(f"{where}: {name}: {one['msg'].lower()} (it is {one['input']!r})")
    return ConfigError("\n".join(lines))
