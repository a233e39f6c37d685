"""Preference rows in memory, such as a `datasets.Dataset`, as groups: for training from Python without a run folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

from PIL import Image as Pillow

from vlfeedback import groups
from vlfeedback._images_pixels import as_png
from vlfeedback.errors import ConfigError, DataError, ImageError
from vlfeedback.exchange import IMAGES_ROOT, Intake, Item, Pictures, Tally
from vlfeedback.exchange._rows import Row
from vlfeedback.exchange.trl import Trl, load as trl
from vlfeedback.images import RUN_ROOT, Roots
from vlfeedback.records import Dropped, Group, Instruction, PreferencePair, Response

_TEXTS = ("prompt", "chosen", "rejected", "chosen_model", "rejected_model", "category")
"""Columns with words, as text or inside messages."""


class RowGroups(NamedTuple):
    """Groups of preference rows.

    Attributes:
        groups: One per prompt and pictures, with all its pairs.
        pictures: Where their bytes lie.
        dropped: Rows that cannot be used, with the reason.
        noticed: What of the others is read otherwise than it stands, in words, with counts.
    """

    groups: list[Group]
    pictures: Roots
    dropped: list[Dropped]
    noticed: Tally


def grouped(
    rows: Iterable[Mapping[str, Any]], out: Path, *, images: Path | None = None, eval_share: float = 0.0
) -> RowGroups:
    """Group preference rows by prompt and pictures.

    Args:
        rows: With `prompt`, `chosen`, `rejected` (text or chat messages) and `images` or `image` (PIL pictures, bytes
            or paths), as TRL's trainers take them.
        out: Folder in which pictures that come inside the rows are kept.
        images: Folder or `.zip` below which paths are looked up.
        eval_share: Share of pictures held out, 0 to 1.
    Raises:
        ConfigError: `rows` are something else: a name, a table of columns, several splits.
        DataError: no row can be used; the message has the first reason.
    """
    _check(rows)
    store = Pictures(out, images)
    noticed: Tally = Counter()
    intake, form = Intake(origin="trl", judge="", eval_share=eval_share), trl()
    items = (_item(f"row {number}", row, form, store, noticed) for number, row in enumerate(rows))
    kept: dict[type[Any], list[Any]] = {one: [] for one in (Instruction, Response, PreferencePair, Dropped)}
    for batch in intake.run(items):
        for record in batch.records:
            kept[type(record)].append(record)
    dropped: list[Dropped] = kept[Dropped]
    if not kept[PreferencePair]:
        why = f"{dropped[0].record_id}: {dropped[0].reason} {dropped[0].detail}" if dropped else "there is no row"
        raise DataError(f"none of the rows gives a pair ({why})")
    joined = list(groups.join(kept[Instruction], kept[Response], pairs=kept[PreferencePair]))
    places = {RUN_ROOT: out} if images is None else {RUN_ROOT: out, IMAGES_ROOT: images}
    return RowGroups(joined, Roots(places), dropped, noticed)


def _check(rows: object) -> None:
    """Refuse what is iterable as well and would give letters or names of columns as rows.

    Raises:
        ConfigError: it is no collection of rows.
    """
    kind = type(rows).__name__
    if isinstance(rows, str | bytes | Path):
        raise ConfigError(
            f"rows is a {kind}, not the rows themselves: read them (`pyarrow.parquet.read_table(…).to_pylist()`), "
            "or train on a file with `vlfeedback train --data`."
        )
    if isinstance(rows, Mapping):
        names = ", ".join(map(repr, list(cast("Mapping[Any, Any]", rows))[:6]))
        raise ConfigError(
            f"rows is a {kind} of {names}: give a list of dictionaries, one for each row; of several splits one, "
            "such as rows['train']; of columns `datasets.Dataset.from_dict(rows)`."
        )
    if not isinstance(rows, Iterable):
        raise ConfigError(f"rows is {rows!r}: give a list of dictionaries, or a `datasets.Dataset`.")


def _item(where: str, row: object, form: Trl, store: Pictures, noticed: Tally) -> Item | Dropped:
    if not isinstance(row, Mapping):
        return Dropped("exchange", where, "bad_record", f"a dictionary was expected, found {type(row).__name__}")
    given = cast("Mapping[str, Any]", row)
    if half := [name for name in _TEXTS if _has_half(given.get(name))]:
        detail = f"{' and '.join(half)}: half of a surrogate pair, which is no character"
        return Dropped("exchange", where, "bad_record", detail)
    try:
        plain = _plain(given)
    except ImageError as error:
        return Dropped("exchange", where, error.reason, error.detail)
    return form.item(Row(where, plain), store, noticed)


def _has_half(value: object) -> bool:
    """Whether a text, or one inside messages, holds half of a surrogate pair, which nothing could hash or store."""
    if isinstance(value, str):
        return not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value)
    if isinstance(value, Mapping):
        return any(map(_has_half, cast("Mapping[object, object]", value).values()))
    return isinstance(value, list | tuple) and any(map(_has_half, cast("Iterable[object]", value)))


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row whose pictures are bytes or paths.

    Raises:
        ImageError: one of them is a PIL picture that cannot be used.
    """
    found = dict(row)
    for name in ("image", "images"):
        if found.get(name) is not None:
            given = found[name]
            listed: list[Any] = list(cast("Iterable[Any]", given)) if isinstance(given, list | tuple) else [given]
            found[name] = list(_data(listed))
    return found


def _data(given: Iterable[Any]) -> Iterator[Any]:
    for one in given:
        if isinstance(one, Pillow.Image):
            yield as_png(one, "the picture")
        else:
            yield str(one) if isinstance(one, Path) else one
