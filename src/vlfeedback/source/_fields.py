"""Typed access to the fields of a record, and the field map that the plain formats share."""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import NamedTuple, cast, get_args

from vlfeedback._images_names import shown
from vlfeedback._images_pixels import UNKNOWN, suffix_of
from vlfeedback.errors import ConfigError
from vlfeedback.records import Conduct
from vlfeedback.source import Embedded, Found, Named, Picture
from vlfeedback.source._rows import BadRecord, Fields, Row, as_fields

_DATA_URL = re.compile(r"data:image/[^,]{1,80};base64,", re.IGNORECASE)
_BASE64 = re.compile(r"[A-Za-z0-9+/\s]++={0,2}\s*")
"""A path has a dot somewhere, which base64 has not; `++`, or a name full of blanks is read once for each of them."""
_SHORTEST = 40
"""Letters of the smallest picture there is."""
_TOLD = 20
"""Names of fields in a message."""

_KINDS = {
    "bool": "true or false", "dict": "an object", "list": "a list", "tuple": "a list", "bytes": "bytes",
    "int": "a number", "float": "a number", "Decimal": "a decimal number", "date": "a date", "time": "a time of day",
    "datetime": "a point in time", "Timestamp": "a point in time", "timedelta": "a span of time",
    "Timedelta": "a span of time",
}  # fmt: skip

PLACES = ("path", "url", "image_url", "file_name", "filename", "file", "image_path", "image", "src", "uri")
"""Members of an object by which datasets name the picture that it stands for."""

_CONDUCTS: frozenset[str] = frozenset(get_args(Conduct))


class FieldMap(NamedTuple):
    """Which field of a record holds what."""

    prompt: str
    image: str
    record_id: str
    category: str
    reference: str
    conduct: str

    def stripped(self) -> FieldMap:
        """For files whose names are read without blanks around them."""
        return FieldMap(*(name.strip() for name in self))


def optional_text(fields: Fields, *keys: str) -> str | None:
    """The first of some fields that is there and not null, as text; numbers are written out.

    What is no number (NaN) is missing: so tables write an empty cell.

    Raises:
        BadRecord: it is a list, an object, a truth value or infinite.
    """
    for key in keys:
        value = fields.get(key)
        if _missing(value):
            continue
        if value in (math.inf, -math.inf):
            raise BadRecord(f"field {key!r} is infinite, not text")
        if isinstance(value, str):
            return value
        if isinstance(value, int | float) and not isinstance(value, bool):
            return str(value)
        raise BadRecord(f"field {key!r} is {_kind(value)}, not text")
    return None


def _missing(value: object) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def text(fields: Fields, *keys: str) -> str:
    """The first of some fields that is there, as text.

    Raises:
        BadRecord: none is there, or it is no text.
    """
    value = optional_text(fields, *keys)
    if value is None:
        raise _lacking(fields, keys)
    return value


def _lacking(fields: Fields, keys: Sequence[str]) -> BadRecord:
    held = listed(key for key, value in fields.items() if not _missing(value))
    return BadRecord(f"it has no field {' or '.join(map(repr, keys))}; it has {held}")


def listed(names: Iterable[str]) -> str:
    """Names of a stranger for a message: without control characters, none too long, and not all of thousands."""
    some = [shown(str(name))[1:-1] for name in islice(names, _TOLD + 1)]
    return ", ".join(some[:_TOLD]) + (", …" if len(some) > _TOLD else "") or "none"


def objects(fields: Fields, *keys: str) -> list[Fields]:
    """The first of some fields that is there, as a list of objects.

    Raises:
        BadRecord: none is there, or it is something else.
    """
    for key in keys:
        value = fields.get(key)
        if value is None:
            continue
        if isinstance(value, list):
            entries = [as_fields(entry) for entry in cast("list[object]", value)]
            if all(entry is not None for entry in entries):
                return [entry for entry in entries if entry is not None]
        raise BadRecord(f"field {key!r} is not a list of objects")
    raise _lacking(fields, keys)


def texts(fields: Fields, *keys: str) -> list[str]:
    """The first of some fields that is there, as a list; a single text is a list of one, an empty text of none.

    Raises:
        BadRecord: it is neither text nor a list of texts.
    """
    for key in keys:
        value = fields.get(key)
        if value is None:
            continue
        entries = cast("list[object]", value) if isinstance(value, list | tuple) else [value]
        if all(isinstance(entry, str) for entry in entries):
            return [entry for entry in entries if isinstance(entry, str) and entry]
        raise BadRecord(f"field {key!r} is not text and not a list of texts")
    return []


def named(fields: Fields, *keys: str) -> tuple[Picture, ...]:
    """Pictures that a field names by path, or holds as base64.

    Raises:
        BadRecord: `bad_image`: its base64 is damaged.
    """
    return tuple(_written(text) for text in texts(fields, *keys))


def from_patterns(picture_id: str, patterns: Sequence[str]) -> Named:
    """A picture known by its id: `{}` in each pattern stands for it, and the first file that exists is taken."""
    paths = [pattern.replace("{}", picture_id) for pattern in patterns]
    if not paths:
        raise BadRecord("`image_files` names no pattern")
    return Named(paths[0], or_else=tuple(paths[1:]))


def filled(pattern: str, names: Mapping[str, str]) -> str:
    """A pattern with `{name}` replaced by values; other braces stay as they are."""
    for name, value in names.items():
        pattern = pattern.replace(f"{{{name}}}", value)
    return pattern


def one_of(option: str, given: str, allowed: Sequence[str]) -> str:
    """Check an option that takes one of a few words.

    Raises:
        ConfigError: it is none of them.
    """
    if given not in allowed:
        raise ConfigError(f"{option} = {given!r}: use one of {', '.join(map(repr, allowed))}")
    return given


def conduct_of(given: str) -> Conduct:
    """A word of the settings as a conduct.

    Raises:
        ConfigError: it is none.
    """
    return cast("Conduct", one_of("conduct", given, sorted(_CONDUCTS)))


def embedded(encoded: str) -> Embedded:
    """A picture as base64 text, with or without the head of a data URL.

    Raises:
        BadRecord: `bad_image`: it is not base64.
    """
    if encoded.startswith("data:"):
        encoded = encoded.partition(",")[2]
    try:
        return Embedded(base64.b64decode("".join(encoded.split()), validate=True))
    except (binascii.Error, ValueError) as error:
        raise BadRecord(f"its picture is not base64: {error}", "bad_image") from error


def _written(path: str) -> Picture:
    """What a text says of a picture: its path, unless it is a data URL, or base64 that begins as a picture does."""
    if _DATA_URL.match(path):
        return embedded(path)
    if len(path) >= _SHORTEST and _BASE64.fullmatch(path):
        head = "".join(path[:_SHORTEST].split())[:16]
        if suffix_of(base64.b64decode(head[: len(head) // 4 * 4])) != UNKNOWN:
            return embedded(path)
    return Named(path)


def mapped(row: Row, fields_of: FieldMap) -> Found:
    """Read a plain record by a field map; a field that is not there is no error unless it is the prompt."""
    fields = row.fields
    conduct = optional_text(fields, fields_of.conduct) or None
    if conduct is not None and conduct not in _CONDUCTS:
        raise BadRecord(f"conduct is {shown(conduct)}, not one of {', '.join(sorted(_CONDUCTS))}")
    return Found(
        record_id=optional_text(fields, fields_of.record_id) or row.name,
        prompt=text(fields, fields_of.prompt),
        images=pictures(fields.get(fields_of.image), fields_of.image),
        category=_category(fields, fields_of.category),
        conduct=cast("Conduct | None", conduct),
        reference=optional_text(fields, fields_of.reference) or None,
    )


def _category(fields: Fields, key: str) -> str:
    """A kind, or several kinds as one text: `count+colour`."""
    if isinstance(fields.get(key), list):
        return "+".join(texts(fields, key))
    return optional_text(fields, key) or ""


def pictures(value: object, key: str) -> tuple[Picture, ...]:
    """Pictures of a field: a path, base64, bytes, an object with `bytes` or one of `PLACES`, or a list of these.

    Raises:
        BadRecord: it is something else, an object that holds other things alone, or damaged base64 (`bad_image`).
    """
    if _missing(value) or value == "":
        return ()
    if isinstance(value, str):
        return (_written(value),)
    if isinstance(value, bytes):
        return (Embedded(value),)
    if isinstance(value, Mapping):
        return _of_object(cast("Fields", value), key)
    if isinstance(value, list):
        return tuple(picture for entry in cast("list[object]", value) for picture in pictures(entry, key))
    raise BadRecord(f"field {key!r} is {_kind(value)}, not the path of a picture")


def _of_object(entry: Fields, key: str) -> tuple[Picture, ...]:
    """The picture of an object. One of which nothing is known must not pass for an instruction without pictures."""
    held = {name: value for name, value in entry.items() if not _missing(value) and value not in ("", [], {})}
    for place in ("bytes", *PLACES):
        if place in held:
            return pictures(held[place], key)
    if held:
        raise BadRecord(
            f"field {key!r} is an object of {listed(held)}, of which none is known to be a picture: "
            f"that would be bytes, {', '.join(PLACES)}"
        )
    return ()


def _kind(value: object) -> str:
    name = type(value).__name__
    return _KINDS.get(name) or f"a value of type {name}"
