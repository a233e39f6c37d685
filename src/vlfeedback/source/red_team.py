"""Red-team instructions about pictures of your own: what a model should handle with care or refuse, with the conduct.

Families: privacy, false premises, misleading text, orders drawn into the picture, fairness, politics, and jailbreak
wrappers around a list of behaviours that you give. The templates are `red_team.toml` and a file of yours.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from vlfeedback.errors import ConfigError, DataError, ImageError
from vlfeedback.images import Roots
from vlfeedback.records import Dropped
from vlfeedback.source import Embedded, Example, Found, Named, Picture, Reader
from vlfeedback.source._drawn import drawn, undrawable
from vlfeedback.source._fields import optional_text
from vlfeedback.source._files import below, lines_of
from vlfeedback.source._picture_files import picture_files
from vlfeedback.source._rows import BadRecord, Row, json_rows
from vlfeedback.source._table_rows import csv_rows
from vlfeedback.source._templates import (
    BEHAVIOUR,
    CATEGORY,
    Family,
    Templates,
    filled,
    slots_of,
    templates as read_templates,
)

TESTED_ON: tuple[str, ...] = ("OwlEval cases/", "FigStep safebench.csv")

FIELDS = ("goal", "behaviour", "behavior", "instruction", "question", "prompt")
"""Columns or fields that hold a behaviour, in any case, where the list is a table.

JailbreakBench has `Goal`, a sentence, and `Behavior`, a label for it; HarmBench has the sentence in `Behavior`.
"""

ROUNDS = 6
"""How often a picture may meet the same template, with other words."""

_HERE = "pictures"


class _Pictures(NamedTuple):
    """Names of the folder's pictures, what they begin with in the source's root, and the folder as a root."""

    names: list[str]
    way: str
    roots: Roots


class _Draw(NamedTuple):
    """One instruction to be made: the picture's name, and the number of its turn."""

    name: str
    turn: int


def load(
    path: Path,
    *,
    count: int = 2100,
    families: Sequence[str] = (),
    templates: str = "",
    behaviours: str = "",
    home: Path | None = None,
) -> Reader:
    """Make red-team instructions about the pictures of a folder; the category is `red_team/FAMILY`.

    Every family gets its share of `count`. Pictures and words are drawn by hash, so that another picture takes the
    place of few others. The source's `images` must be a root that is this folder, or one that holds it; pictures with
    an order drawn into them go to the run folder. Without `behaviours` the families that need them are left out.

    Args:
        path: A folder of pictures.
        count: Instructions.
        families: Only these; empty for all.
        templates: A TOML file of your own that extends the shipped one, relative to run.toml (in Python: to
            the folder).
        behaviours: A list to wrap: one a line (.txt), or a table (.csv, .jsonl, .json) with a column `goal`,
            `behaviour`, `instruction`, `question` or `prompt`, in any case. Relative likewise.
        home: Place of the source's image root (given by the pipeline).
    Raises:
        ConfigError: an unknown family, a mistake in the templates, an order to draw in letters that the font lacks,
            more instructions than can be made, or a folder that does not lie in the root.
        DataError: the folder or the list is not there, or is empty.
    """
    if not path.is_dir():
        raise DataError(f"{path} is not a folder. Check `path` of the source")
    if count < 1:
        raise ConfigError(f"count = {count}, but at least 1 instruction is needed")
    known = read_templates(path / Path(templates).expanduser() if templates else None)
    listed = _behaviours(path / Path(behaviours).expanduser()) if behaviours else []
    given = list(dict.fromkeys(one for one in listed if isinstance(one, str)))
    unread = [one for one in listed if isinstance(one, Dropped)]
    words = {**known.slots, BEHAVIOUR: tuple(given)}
    quotas = _quotas(known, families, count, bool(given))
    for family, _ in quotas:
        _check_drawable(family, words)

    way = below(path, home)

    def read() -> Iterator[Found | Dropped]:
        found = list(picture_files(path))
        names = [file.relative_to(path).as_posix() for file in found if isinstance(file, Path)]
        yield from (file for file in found if isinstance(file, Dropped))
        yield from unread
        pictures = _Pictures(names, way, Roots({_HERE: path}))
        for family, quota in quotas:  # before anything is drawn
            for _ in _draws(family, quota, names, words):
                pass
        for family, quota in quotas:
            yield from _family(family, quota, pictures, words)

    return read


def _quotas(known: Templates, only: Sequence[str], count: int, behaviours: bool) -> list[tuple[Family, int]]:
    for name in only:
        if name not in known.families:
            raise ConfigError(f"there is no family {name!r}; known are {', '.join(known.families)}")
        if known.families[name].needs_behaviour and not behaviours:
            raise ConfigError(f"family {name!r} needs a list: give a file in `behaviours`")
    chosen = [
        family
        for family in known.families.values()
        if (family.name in only if only else family.share) and (behaviours or not family.needs_behaviour)
    ]
    total = sum(family.share or 0 for family in chosen)
    if not total:
        raise ConfigError("no family has a share: raise one in `templates`, or name others in `families`")
    exact = [count * (family.share or 0) / total for family in chosen]
    found = [int(part) for part in exact]
    for index in sorted(range(len(exact)), key=lambda index: found[index] - exact[index])[: count - sum(found)]:
        found[index] += 1
    return list(zip(chosen, found, strict=True))


def _check_drawable(family: Family, words: dict[str, tuple[str, ...]]) -> None:
    """Refuse orders in letters that the font lacks: all of them would be drawn as the same boxes."""
    for order in family.draw:
        for text in (order, *(word for slot in slots_of(order) for word in words[slot])):
            if lacking := undrawable(text):
                raise ConfigError(
                    f"family {family.name!r} draws {text!r} into pictures, and the font lacks {', '.join(lacking)}: "
                    "it has Latin letters without accents. Write it in those, or leave its family out in `families`"
                )


def _family(
    family: Family, quota: int, pictures: _Pictures, words: dict[str, tuple[str, ...]]
) -> Iterator[Found | Dropped]:
    for draw, prompt, text in _draws(family, quota, pictures.names, words):
        yield _found(family, draw, prompt, text, pictures)


def _draws(
    family: Family, quota: int, names: Sequence[str], words: dict[str, tuple[str, ...]]
) -> Iterator[tuple[_Draw, str, str]]:
    """Prompts and drawn orders of one family: every picture once, in the order of their hashes, before any comes again.

    Raises:
        ConfigError: there are fewer different ones than its quota.
    """
    made = 0
    seen: set[tuple[str, str, str]] = set()
    order = sorted(names, key=lambda name: _hash(family.name, name, "picture"))
    for turn in range(len(family.prompts) * max(1, len(family.draw)) * ROUNDS):
        for name in order:
            if made == quota:
                return
            prompt, text = _worded(family, _Draw(name, turn), words)
            if (name, prompt, text) in seen:
                continue
            seen.add((name, prompt, text))
            made += 1
            yield _Draw(name, turn), prompt, text
    if made < quota:
        raise ConfigError(
            f"family {family.name!r} can make {made} different instructions of {len(order)} pictures, not {quota}: "
            "lower `count`, or give more pictures or templates"
        )


def _worded(family: Family, draw: _Draw, words: dict[str, tuple[str, ...]]) -> tuple[str, str]:
    """Prompt and drawn order of one instruction."""
    first = _hash(family.name, draw.name, "prompt")
    prompt = family.prompts[(first + draw.turn) % len(family.prompts)]
    turn = draw.turn // len(family.prompts)
    order = (
        family.draw[(_hash(family.name, draw.name, "draw") + turn + draw.turn) % len(family.draw)]
        if family.draw
        else ""
    )
    chosen = {
        slot: words[slot][_hash(family.name, draw.name, f"{slot} {draw.turn}") % len(words[slot])]
        for slot in {*slots_of(prompt), *slots_of(order)}
    }
    return filled(prompt, chosen), filled(order, chosen)


def _found(family: Family, draw: _Draw, prompt: str, order: str, pictures: _Pictures) -> Found | Dropped:
    record_id = f"{family.name}/{draw.name}#{draw.turn + 1}"
    picture: Picture = Named(f"{pictures.way}{draw.name}")
    if order:
        try:
            data = pictures.roots.open(pictures.roots.find(_HERE, draw.name))
            picture = Embedded(drawn(data, order, top=bool(_hash(family.name, draw.name, "place") % 2)), ".jpg")
        except ImageError as error:
            return Dropped("source", record_id, error.reason, error.detail)
    return Found(record_id, prompt, (picture,), f"{CATEGORY}{family.name}", family.conduct)


def _hash(*parts: str) -> int:
    return int.from_bytes(hashlib.sha256("\n".join(parts).encode("utf-8", "surrogateescape")).digest()[:8], "big")


def _behaviours(path: Path) -> list[str | Dropped]:
    """The lines or cells of a list, and the rows that hold none.

    Raises:
        DataError: none holds any, a field of one is no text, or the file cannot be read.
    """
    kind = path.suffix.lower()
    if kind in (".csv", ".tsv", ".json", ".jsonl"):
        rows = json_rows(path) if kind.startswith(".json") else csv_rows(path, "\t" if kind == ".tsv" else ",")
        found = [_behaviour(row, path) for row in rows]
    else:
        found = list[str | Dropped](lines_of(path))
    if not any(isinstance(one, str) for one in found):
        raise DataError(f"{path} holds no behaviours: one a line, or a column {' or '.join(map(repr, FIELDS))}")
    return found


def _behaviour(row: Row | Dropped, path: Path) -> str | Dropped:
    if isinstance(row, Dropped):
        return replace(row, record_id=f"{path.name} {row.record_id}", detail=f"{path.name}: {row.detail}")
    fields = {name.strip().lower(): value for name, value in row.fields.items() if value is not None}
    try:
        text = (optional_text(fields, *FIELDS) or "").strip()
    except BadRecord as error:
        raise DataError(f"{path}, {row.name}: {error}") from error
    detail = f"{path.name}, {row.name} has nothing in {' or '.join(map(repr, FIELDS))}"
    return text or Dropped("source", f"{path.name} {row.name}", "bad_record", detail)


EXAMPLES = (
    Example(
        {
            "mine.toml": '[[family]]\nname = "manners"\nconduct = "caution"\nshare = 1\n'
            'prompts = ["Is the {what} rude?"]\n[slots]\nwhat = ["cat"]\n',
            "pics/a.jpg": b"not opened",
            "pics/x/b.png": b"not opened",
            "pics/note.md": "no picture",
        },
        "pics",
        (
            Found("manners/a.jpg#1", "Is the cat rude?", (Named("a.jpg"),), "red_team/manners", "caution"),
            Found("manners/x/b.png#1", "Is the cat rude?", (Named("x/b.png"),), "red_team/manners", "caution"),
        ),
        {"families": ["manners"], "count": 2, "templates": "../mine.toml"},
    ),
)
