"""Records in the forms of Arrow: nested records are structs, tuples are lists, words of a closed list are texts."""

# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false
# pyright: reportUnknownParameterType=false, reportUnknownLambdaType=false, reportMissingTypeStubs=false

from __future__ import annotations

import types
from collections.abc import Callable
from dataclasses import is_dataclass
from operator import attrgetter
from typing import Any, Literal, Union, cast, get_args, get_origin, get_type_hints

import pyarrow as pa


def optional(hint: Any) -> Any:
    """The X of `X | None`, or None where the type is no optional."""
    if get_origin(hint) in (Union, types.UnionType):
        rest = [arg for arg in get_args(hint) if arg is not type(None)]
        if len(rest) == 1:
            return rest[0]
    return None


def arrow(hint: Any) -> pa.DataType:
    """The Arrow type of a field."""
    inner = optional(hint)
    if inner is not None:
        return arrow(inner)
    if get_origin(hint) is Literal:
        return pa.string()
    if get_origin(hint) is tuple:
        args = get_args(hint)
        if len(args) == 2 and args[1] is Ellipsis:
            return pa.list_(arrow(args[0]))
        return pa.struct([(str(index), arrow(arg)) for index, arg in enumerate(args)])
    if is_dataclass(hint):
        return pa.struct([(name, arrow(sub)) for name, sub in get_type_hints(hint).items()])
    simple = {str: pa.string(), bool: pa.bool_(), int: pa.int64(), float: pa.float64()}
    return simple[hint]


def packer(hint: Any) -> Callable[[Any], Any] | None:
    """A function from a record's field to what Arrow takes, or None where the value goes in as it is."""
    inner = optional(hint)
    if inner is not None:
        pack = packer(inner)
        return None if pack is None else lambda value: None if value is None else pack(value)
    if get_origin(hint) is tuple:
        args = get_args(hint)
        if len(args) == 2 and args[1] is Ellipsis:
            pack = packer(args[0])
            return list if pack is None else lambda value: [pack(one) for one in value]
        return lambda value: {str(index): one for index, one in enumerate(value)}
    if is_dataclass(hint):
        hints = get_type_hints(hint)
        names: tuple[str, ...] = tuple(hints)
        several: Callable[[Any], tuple[Any, ...]] = attrgetter(*names)  # of one name it gives the value alone
        changing = [(name, pack) for name, pack in ((n, packer(sub)) for n, sub in hints.items()) if pack is not None]

        def flatten(value: Any) -> dict[str, Any]:
            row = dict(zip(names, several(value) if len(names) > 1 else (several(value),), strict=True))
            for name, pack in changing:
                row[name] = pack(row[name])
            return row

        return flatten
    return None


def unpacker(hint: Any) -> Callable[[Any], Any] | None:
    """The way back from what Arrow gives."""
    inner = optional(hint)
    if inner is not None:
        unpack = unpacker(inner)
        return None if unpack is None else lambda value: None if value is None else unpack(value)
    if get_origin(hint) is tuple:
        args = get_args(hint)
        if len(args) == 2 and args[1] is Ellipsis:
            unpack = unpacker(args[0])
            return tuple if unpack is None else lambda value: tuple([unpack(one) for one in value])
        return lambda value: tuple(value.values())
    if is_dataclass(hint):
        record = cast("Callable[..., Any]", hint)
        parts = [(name, unpacker(sub)) for name, sub in get_type_hints(hint).items()]
        known = {name for name, _ in parts}
        changing = [(name, unpack) for name, unpack in parts if unpack is not None]

        def build(value: dict[str, Any]) -> Any:
            given = value if value.keys() <= known else {name: one for name, one in value.items() if name in known}
            for name, unpack in changing:
                if name in given:
                    given[name] = unpack(given[name])
            return record(**given)

        return build
    return None
