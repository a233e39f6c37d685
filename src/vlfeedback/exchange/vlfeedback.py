"""The released VLFeedback data: 80,258 instructions with four rated answers each.

Read from the released JSON lines (completions as a list), from what `datasets` makes of them (completions as a table of
lists), as a JSON array, or from the converted Parquet files. Known faults of the release and what is done about them:

- Ids repeat, and pictures are stored as `<id>.jpg`, so that rows of one id share one file, which may be the wrong
  picture for some of them. Rows are keyed by their content, never by the id. They are kept by default, since the
  paper's counts include them, and counted; `repeated_ids="drop"` drops rows whose id also stands at another prompt.
- Ratings are text and not always a number: only whole numbers from 1 to 5 count, all else is "no rating", never 0.
- Some GPT-4V answers carry citation marks such as 【12†source】, which are no part of what was said. They are cut from
  the response; the ledger keeps the text as found.
- Some released copies have fewer than four completions, and some lists do not fit each other.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple, cast

from vlfeedback.errors import ImageError
from vlfeedback.exchange._items import ASPECTS, Completion, Importer, Item, Pictures, Tally, Verdict
from vlfeedback.exchange._rows import Json, Row, rows
from vlfeedback.records import Dropped, Image, Reason

_MARK = r"【[^【】\n]{0,40}†[^【】\n]{0,200}】"
# A blank before a mark goes with it only where a blank, a sign or the end follows, so that no words grow together.
# Nothing is given back, and a run of blanks is read from its beginning alone: a text of blanks is read once.
_CITATION = re.compile(rf"(?<![ \t])[ \t]++(?:{_MARK})++(?=[\s.,;:!?)\]]|$)|(?:{_MARK})++")
_SCORE = re.compile(r"[ \t\r\n]*([1-5])(?:\.0+)?[ \t\r\n]*", re.ASCII)
_DIGITS = "0123456789"
_FOLDER = "merged_images/"
_KNOWN = frozenset(ASPECTS)
_PLAIN: dict[str | int | float, int] = {str(score): score for score in range(1, 6)}

EXAMPLES = (
    (
        {
            "id": "own-detail-7",
            "prompt": "What stands on the shelf?",
            "models": ["a", "b"],
            "completions": [
                {
                    "model": "a",
                    "response": "Two jars 【3†source】.",
                    "annotations": {
                        "Helpfulness": {"Rating": "4", "Rationale": "Short and right."},
                        "Ethical Considerations": {"Rating": "5", "Rationale": ""},
                        "Visual Faithfulness": {"Rating": "N/A", "Rationale": ""},
                    },
                },
                {"model": "b", "response": "A cat.", "annotations": {"Helpfulness": {"Rating": "2"}}},
            ],
        },
        [("a", "Two jars.", (4, 5, None)), ("b", "A cat.", (2, None, None))],
    ),
)
"""A row of the file, and (model, text, scores in the order of `ASPECTS`) of its completions."""


class _Unusable(NamedTuple):
    """Why a row or completion cannot be read."""

    reason: Reason
    detail: str


class _Found(NamedTuple):
    """A completion as found, its place, and its model's name by the row's own list."""

    where: str
    value: Json
    model: Json


def load(
    *,
    citations: Literal["strip", "keep"] = "strip",
    repeated_ids: Literal["keep", "drop"] = "keep",
    judge: str = "gpt-4-vision",
    split: str = "",
) -> Importer:
    """The reader of the released data.

    Args:
        citations: Cut citation marks such as 【12†source】 from the responses, or leave them in.
        repeated_ids: Keep rows whose id also stands at another prompt, or drop them as `repeated_id`.
        judge: Name of the model that rated.
        split: Of a folder with several splits, the one to read; empty for the training split and what is held out.
    """
    return _Released(strip=citations == "strip", drop_repeated=repeated_ids == "drop", judge=judge, split=split)


class _Released:
    prefers = False

    def __init__(self, *, strip: bool, drop_repeated: bool, judge: str, split: str) -> None:
        self.judge, self._split = judge, split
        self._strip, self._drop_repeated = strip, drop_repeated

    def read(self, path: Path, pictures: Pictures, tally: Tally) -> Iterator[Item | Dropped]:
        """Items of the file; see `Importer.read`."""
        repeated = _repeated(path, self._split) if self._drop_repeated else None
        seen: dict[str, _Seen] = {}
        for row in rows(path, split=self._split, tally=tally):
            if isinstance(row, Dropped):
                yield row
                continue
            found = self._item(row, pictures, tally)
            name = _name(row.fields)
            if name and isinstance(found, Item):
                seen.setdefault(name, _Seen()).add(found.prompt)
                if repeated is not None and name in repeated:
                    detail = f"the id {name} stands at several prompts, so the picture may be the wrong one"
                    found = Dropped("exchange", row.where, "repeated_id", detail)
            yield found
        suspicious = [one.rows for one in seen.values() if len(one.prompts) > 1]
        tally["ids that stand at several prompts"] += len(suspicious)
        tally["rows whose id stands at several prompts"] += sum(suspicious)

    def _item(self, row: Row, pictures: Pictures, tally: Tally) -> Item | Dropped:
        prompt = row.fields.get("prompt")
        if not isinstance(prompt, str):
            return Dropped("exchange", row.where, "bad_record", "the row has no prompt")
        completions = self._completions(row, tally)
        if isinstance(completions, _Unusable):
            return Dropped("exchange", row.where, completions.reason, completions.detail)
        try:
            image = _image(row.fields, pictures)
        except ImageError as error:
            return Dropped("exchange", row.where, error.reason, error.detail)
        if image is None:
            return Dropped("exchange", row.where, "missing_image", "the row has neither an id nor a picture")
        return Item(row.where, prompt, (image,), _category(_name(row.fields)), completions, (), row.side)

    def _completions(self, row: Row, tally: Tally) -> tuple[Completion | Dropped, ...] | _Unusable:
        found = _as_list(row.fields.get("completions"))
        if isinstance(found, _Unusable):
            return found
        models = row.fields.get("models")
        names = models if isinstance(models, list) else []
        if len(found) < 4:
            tally["rows with fewer than four completions"] += 1
        judged = any(isinstance(one, dict) and one.get("annotations") for one in found)
        return tuple(
            self._completion(
                _Found(f"{row.where}/{index + 1}", one, names[index] if index < len(names) else None), judged, tally
            )
            for index, one in enumerate(found)
        )

    def _completion(self, one: _Found, judged: bool, tally: Tally) -> Completion | Dropped:
        found = one.value
        if not isinstance(found, dict) or not isinstance(raw := found.get("response"), str):
            return Dropped("exchange", one.where, "bad_record", "the completion has no response")
        model = found.get("model") or one.model
        if not isinstance(model, str):
            model = "unknown"
            tally["completions without a model's name"] += 1
        text = raw
        if self._strip and "†" in raw:
            text, marks = _CITATION.subn("", raw)
            tally["responses with citation marks"] += marks > 0
        if not text or text.isspace():
            tally["empty responses"] += 1
        annotations = found.get("annotations")
        # Where any completion of the row is rated, all were asked for, and what lacks is a missing rating.
        verdicts = _verdicts(annotations, tally) if judged else ()
        return Completion(model, text, raw, verdicts, annotations)


class _Seen:
    """Rows and prompts of one id; prompts by a short hash, since most of a million ids have one only."""

    __slots__ = ("prompts", "rows")

    def __init__(self) -> None:
        self.rows = 0
        self.prompts: tuple[str, ...] = ()

    def add(self, prompt: str) -> None:
        self.rows += 1
        key = hashlib.sha256(prompt.encode("utf-8")).hexdigest()[:16]
        if key not in self.prompts:
            self.prompts = (*self.prompts, key)


def _repeated(path: Path, split: str) -> set[str]:
    """Ids that stand at several prompts; a first pass over the file."""
    seen: dict[str, _Seen] = {}
    for row in rows(path, split=split):
        if isinstance(row, Row) and (name := _name(row.fields)) and isinstance(prompt := row.fields.get("prompt"), str):
            seen.setdefault(name, _Seen()).add(prompt)
    return {name for name, one in seen.items() if len(one.prompts) > 1}


def _name(fields: dict[str, Json]) -> str:
    name = fields.get("id")
    return str(name) if isinstance(name, str | int) else ""


def _category(name: str) -> str:
    """`llava-reasoning` of `llava-reasoning-3730`."""
    stem = name.rstrip(_DIGITS)
    stem = (stem[:-1] if stem.endswith(("-", "_")) else stem) or name[:1]
    return stem if stem != name and "\n" not in stem else ""


def _image(fields: dict[str, Json], pictures: Pictures) -> Image | None:
    """The row's picture: its bytes if they came along, else by its path, else by its id."""
    carried = fields.get("image")
    if isinstance(carried, dict) and isinstance(data := carried.get("bytes"), bytes):
        return pictures.keep(data, str(carried.get("path") or ""))
    given = fields.get("img_path")
    if isinstance(given, str) and given:
        # The authors' loader writes the path on its own machine; what lies below the release's folder is portable.
        head, folder, tail = given.rpartition(_FOLDER)
        if not folder or "/" in tail:
            return pictures.find(given)
        return pictures.find(tail, _FOLDER + tail, *([] if head.startswith("/") or "://" in head else [given]))
    name = _name(fields)
    return pictures.find(f"{name}.jpg", f"{_FOLDER}{name}.jpg") if name else None


def _as_list(completions: Json) -> list[Json] | _Unusable:
    """Completions as a list of objects, from either layout.

    A table of lists may nest (`annotations.Helpfulness.Rating` may be a list), so each leaf is picked on its own.
    """
    if isinstance(completions, list):
        return completions
    if not isinstance(completions, dict):
        return _Unusable("bad_record", "the row has no completions")
    responses = completions.get("response")
    if not isinstance(responses, list):
        return _Unusable("bad_record", "the completions have no list of responses")
    try:
        return [_pick(completions, index, len(responses)) for index in range(len(responses))]
    except IndexError:
        return _Unusable("bad_record", "the lists of the completions differ in length")


def _pick(table: Json, index: int, length: int) -> Json:
    if isinstance(table, list):
        if len(table) != length:
            raise IndexError
        return table[index]
    if isinstance(table, dict):
        return {key: _pick(value, index, length) for key, value in table.items()}
    return table


def _verdicts(annotations: Json, tally: Tally) -> tuple[Verdict, ...]:
    """One verdict per aspect, in the order of `ASPECTS`; a missing one has no score."""
    given = annotations if isinstance(annotations, dict) else {}
    if given.keys() - _KNOWN:
        tally["ratings of unknown aspects"] += len(given.keys() - _KNOWN)
    verdicts: list[Verdict] = []
    for aspect in ASPECTS:
        entry = given.get(aspect)
        fields = entry if isinstance(entry, dict) else cast("dict[str, Json]", {})
        score, rationale = _score(fields.get("Rating")), fields.get("Rationale")
        if score is None:
            tally["ratings that are no whole number from 1 to 5"] += 1
        verdicts.append(Verdict(aspect, score, rationale if isinstance(rationale, str) else ""))
    return tuple(verdicts)


def _score(found: Json) -> int | None:
    if not isinstance(found, str | int | float):
        return None
    if found in _PLAIN:
        return _PLAIN[found]
    matched = _SCORE.fullmatch(str(found))
    return int(matched[1]) if matched else None
