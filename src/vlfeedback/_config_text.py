"""Settings as text and plain tables: one `key=value`, flat keys, values for all, mistakes in words."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
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


KEY_LENGTH = 20
"""Letters of a key that could be a name; providers' have thirty and more."""

NO_VARIABLE = (
    "api_key_env is the name of an environment variable, such as OPENAI_API_KEY. What stands there is none, and may be "
    "the key itself: put the key into a variable (export NAME=…), and write NAME here."
)
"""Without what stands there: it would be in terminals, logs and reports of mistakes."""


def is_variable(name: str) -> bool:
    """Whether a text may be the name of an environment variable, and is no key that looks like one (`gsk_aB3…`)."""
    if name in os.environ:
        return True
    mixed = all(any(test(letter) for letter in name) for test in (str.isupper, str.islower, str.isdigit))
    return name.isascii() and name.isidentifier() and not (mixed and len(name) >= KEY_LENGTH)


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
        elif len(one["loc"]) == 1 and one["type"] == "tuple_type" and isinstance(one["input"], Mapping):
            lines.append(f"{where}: [{name}] is a list of tables: write [[{name}]], in two brackets")
        elif not name:
            lines.append(f"{where}: {one['msg'].removeprefix('Value error, ')}")
        else:
            # A whole table is not shown: whoever has put a key into one would find it in logs.
            shown = "" if isinstance(one["input"], Mapping | list | tuple) else f" (it is {one['input']!r})"
            lines.append(f"{where}: {name}: {one['msg'].lower()}{shown}")
    return ConfigError("\n".join(lines))
