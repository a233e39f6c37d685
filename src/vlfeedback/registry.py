"""Plug-ins by name: a room's files, outside packages by entry point, or `use = "package.module:load"` on request."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import ConfigDict, ValidationError, create_model

from vlfeedback.errors import ConfigError, PluginError

PluginRoom = Literal["source", "models", "annotate", "pair", "train", "evaluate", "exchange"]
ROOMS: tuple[str, ...] = get_args(PluginRoom)
_ROOT = Path(__file__).parent
_ANY = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


@dataclass(frozen=True, slots=True)
class Plugin:
    """A plug-in that was found and imported.

    Attributes:
        name: What stands after `use =`.
        load: Gives the room's object from options.
        examples: The plug-in's own (input, expected) examples, which the contract tests run.
        identity_of: Of a model: the identity that `load` gives, from some of its options; None where it does not say.
    """

    room: str
    name: str
    load: Callable[..., Any]
    examples: tuple[Any, ...]
    identity_of: Callable[..., str] | None = None


def closest(word: str, known: Mapping[str, Any] | list[str] | tuple[str, ...]) -> str:
    """Half a sentence that names the closest known word, or lists all where none is close."""
    names = sorted(known)
    near = get_close_matches(word, names, n=1, cutoff=0.6)
    return f"did you mean {near[0]!r}?" if near else f"known are: {', '.join(names) or 'none'}"


def names(room: PluginRoom) -> tuple[str, ...]:
    """Names of a room's plug-ins, shipped and installed; nothing of them is imported."""
    shipped = [one.name for one in pkgutil.iter_modules([str(_ROOT / room)]) if not one.name.startswith("_")]
    return tuple(sorted({*shipped, *(point.name for point in _installed(room, tuple(sys.path)))}))


@cache
def _installed(room: str, places: tuple[str, ...]) -> tuple[EntryPoint, ...]:
    """What packages in these places bring along; to read all their descriptions takes some milliseconds."""
    return tuple(entry_points(group=f"vlfeedback.{room}"))


def stated(room: PluginRoom, constant: str) -> dict[str, Any]:
    """A constant that the shipped plug-ins of a room state, by plug-in; nothing of them is imported.

    Args:
        constant: Its name; its value must be a literal. A plug-in without it is left out.
    """
    found: dict[str, Any] = {}
    for path in sorted((_ROOT / room).glob("[!_]*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            targets = [node.target] if isinstance(node, ast.AnnAssign) else getattr(node, "targets", [])
            value = getattr(node, "value", None)
            if value is not None and any(isinstance(one, ast.Name) and one.id == constant for one in targets):
                found[path.stem] = ast.literal_eval(value)
    return found


def find(room: PluginRoom, name: str, *, allow_plugins: bool = False) -> Plugin:
    """Import one plug-in.

    Args:
        room: Where it belongs.
        name: A name of `names(room)`, or `package.module:function` of code that lies anywhere.
        allow_plugins: Whether code from outside the package may be imported by its path.
    Raises:
        PluginError: unknown, not allowed, not importable, or without `load`.
    """
    if ":" in name:
        return _outside(room, name, allow_plugins)
    if name not in names(room):
        _installed.cache_clear()  # it may have been installed since, from a notebook
    if name.startswith("_") or name not in names(room):
        raise PluginError(f"there is no {room} plug-in {name!r}; {closest(name, names(room))}")
    for point in _installed(room, tuple(sys.path)):
        if point.name == name:
            return _outside(room, point.value, True)
    module = importlib.import_module(f"vlfeedback.{room}.{name}")
    examples = tuple(getattr(module, "EXAMPLES", ()))
    return Plugin(room, name, module.load, examples, getattr(module, "identity_of", None))


def _outside(room: str, target: str, allowed: bool) -> Plugin:
    if not allowed:
        raise PluginError(f"{target!r} is code from outside the package: add --allow-plugins if you trust it.")
    module_name, _, function = target.partition(":")
    try:
        module = importlib.import_module(module_name)
        load = getattr(module, function or "load")
    except (ImportError, AttributeError) as error:
        raise PluginError(f"{room} plug-in {target!r} cannot be loaded: {error}. Is it installed?") from error
    return Plugin(room, target, load, tuple(getattr(module, "EXAMPLES", ())))


def options(load: Callable[..., Any], *, besides: frozenset[str] = frozenset()) -> tuple[str, ...]:
    """Names of a plug-in's options, without what the pipeline injects."""
    return tuple(name for name in inspect.signature(load).parameters if name not in besides)


def bind(
    plugin: Plugin,
    given: Mapping[str, Any],
    where: str,
    *,
    inject: Mapping[str, Any] | None = None,
    own: Collection[str] = (),
) -> Any:
    """Check options against a plug-in's signature and load it.

    Args:
        plugin: From `find`.
        given: The remaining keys of its table.
        where: The table's name, for messages.
        inject: Objects handed to parameters of these names if the signature has them; not options.
        own: Keys of the table that are its room's, and known as well.
    Raises:
        ConfigError: an unknown option (the closest is named), a missing one, or a value of another type.
    """
    supplied = inject or {}
    parameters = inspect.signature(plugin.load).parameters
    values = checked(plugin, given, where, supplied, own)
    return plugin.load(**values, **{name: value for name, value in supplied.items() if name in parameters})


def checked(
    plugin: Plugin, given: Mapping[str, Any], where: str, supplied: Collection[str], own: Collection[str] = ()
) -> dict[str, Any]:
    """All options of a plug-in as its `load` gets them: converted to their types, defaults put in.

    Args:
        supplied: Names of parameters that are no options. The others, and what is raised, are those of `bind`.
    Raises:
        PluginError: `load` takes any options at all.
    """
    parameters = inspect.signature(plugin.load, eval_str=True).parameters
    if open_ended := [str(one) for one in parameters.values() if one.kind in _ANY]:
        raise PluginError(
            f"{where}: `load` of {plugin.name!r} takes {', '.join(open_ended)}: it has to name its options"
        )
    known = [name for name in parameters if name not in supplied]
    for key in given:
        if key not in known:
            words = closest(key, tuple({*known, *own}))
            raise ConfigError(f"{where}: {plugin.name!r} has no option {key!r}; {words}")
    fields: dict[str, Any] = {}
    for name in known:
        parameter = parameters[name]
        hint = Any if parameter.annotation is inspect.Parameter.empty else parameter.annotation
        fields[name] = (hint, ... if parameter.default is inspect.Parameter.empty else parameter.default)
    model = create_model(
        "Options", __config__=ConfigDict(arbitrary_types_allowed=True, protected_namespaces=()), **fields
    )
    try:
        found = model(**given)
    except ValidationError as error:
        first = error.errors()[0]
        option, *inside = first["loc"]  # of a choice of types, pydantic names each by its own words
        place = ".".join([str(option), *(str(part) for part in inside if isinstance(part, int))])
        raise ConfigError(f"{where}: option {place!r} of {plugin.name!r}: {first['msg'].lower()}.") from error
    return {name: getattr(found, name) for name in known}
