"""Things in captions that are not in the picture, in the manner of CHAIR, under a protocol of our own: `chair/own-2`.

Pictures and truth are COCO's: a thing is there if an annotator marked it, or a reference caption mentions it. The words
are those of `_chair_words.py`, each thing counts once per caption, and nothing is parsed but words, so that the figures
are no figures of Rohrbach et al. 2018 (arXiv:1809.02156) and never to be set beside theirs. Read `chair_i` and
`chair_s` with `recall` and `length`: a caption that says nothing invents nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from vlfeedback.errors import DataError
from vlfeedback.evaluate._chair_words import WORDS, mentioned
from vlfeedback.evaluate._contract import Benchmark, Example, Item
from vlfeedback.evaluate._exports import write_json
from vlfeedback.evaluate._pictures import picture
from vlfeedback.evaluate._read import json_of
from vlfeedback.evaluate._resample import noise, ratio
from vlfeedback.evaluate._summary import summarise
from vlfeedback.evaluate._templates import positive
from vlfeedback.ids import hash_id
from vlfeedback.images import Roots
from vlfeedback.records import Answer, ItemScore, ItemState, Judgement, Score

PROMPT = "Please describe this image in detail."


@dataclass(frozen=True)
class ChairBenchmark:
    """Captions of COCO's pictures on the user's own copy of pictures and annotations."""

    path: Path
    images: str
    roots: Roots
    split: str
    sample: int
    prompt: str
    max_tokens: int
    name: str = "chair"
    protocol: str = "chair/own-2"

    @cached_property
    def _truth(self) -> dict[int, tuple[str, set[str]]]:
        """Picture number → file name, and the things that are there."""
        marked = _annotations(self.path / f"instances_{self.split}.json", "categories", "images", "annotations")
        names = {one["id"]: one["name"] for one in marked["categories"]}
        strangers = sorted(set(names.values()) - WORDS.keys())
        if strangers:
            raise DataError(f"{self.path}: {strangers[0]!r} is no thing of COCO's list of 80.")
        found: dict[int, tuple[str, set[str]]] = {one["id"]: (one["file_name"], set()) for one in marked["images"]}
        for one in marked["annotations"]:
            found[one["image_id"]][1].add(names[one["category_id"]])
        for one in _annotations(self.path / f"captions_{self.split}.json", "annotations")["annotations"]:
            if one["image_id"] in found:
                found[one["image_id"]][1].update(mentioned(one["caption"]))
        return found

    def items(self) -> Iterator[Item]:
        """A sample of the pictures with anything in them, drawn by hash, so that a larger one holds a smaller one."""
        there = [number for number, (_, things) in self._truth.items() if things]
        for number in sorted(there, key=lambda one: hash_id("chair", one))[: self.sample]:
            file, things = self._truth[number]
            image = picture(self.roots, self.images, (file, f"{self.split}/{file}"), "CHAIR")
            expected = ", ".join(sorted(things))
            name = str(number)
            yield Item(name, self.prompt, (image,), name, "captions", expected, max_tokens=self.max_tokens)

    def score(self, items: Sequence[Item], answers: Iterable[Answer]) -> Iterator[ItemScore]:
        """Things mentioned and invented, whether any is, share of the things there that are mentioned, and words."""
        truth = {item.item_id: set(item.expected.split(", ")) for item in items}
        for answer in answers:
            there, said = truth[answer.item_id], mentioned(answer.text)
            invented = said - there
            values: dict[str, float | None] = {
                "chair_s": float(bool(invented)),
                "mentioned": float(len(said)),
                "invented": float(len(invented)),
                "recall": len(said & there) / len(there),
                "length": float(len(answer.text.split())),
            }
            failed = answer.finish == "error"
            # A caption that mentions nothing of the list is read and says nothing of invention: counted apart.
            state: ItemState = "failed" if failed else "scored" if said else "unparsable"
            for metric, value in values.items():
                yield ItemScore(answer, self.protocol, metric, None if failed else value, state)

    def summarise(self, item_scores: Iterable[ItemScore]) -> list[Score]:
        """The means, and `chair_i`: invented things of all that are mentioned."""
        scores = list(item_scores)
        found = summarise(scores)
        by: dict[str, dict[str, float]] = {"mentioned": {}, "invented": {}}
        for one in scores:
            if one.metric in by and one.value is not None:
                by[one.metric][one.answer.item_id] = one.value
        said = sum(by["mentioned"].values())
        if not said:
            return found
        pairs = {name: (by["invented"][name], value) for name, value in by["mentioned"].items()}
        spread = noise(pairs, ratio)
        like = next(one for one in found if one.metric == "mentioned")
        value = sum(by["invented"].values()) / said
        return [replace(like, metric="chair_i", value=value, ci_low=spread.low, ci_high=spread.high), *found]

    def export(
        self, folder: Path, items: Sequence[Item], answers: Sequence[Answer], judgements: Sequence[Judgement]
    ) -> None:
        """`captions.json` as COCO's caption results are: image_id and caption; what has no reply is left out."""
        del items, judgements
        kept = sorted((one for one in answers if one.finish != "error"), key=lambda one: int(one.item_id))
        write_json(folder / "captions.json", [{"image_id": int(one.item_id), "caption": one.text} for one in kept])


def _annotations(path: Path, *names: str) -> dict[str, list[dict[str, Any]]]:
    found = json_of(path)
    tables = cast("dict[str, Any]", found) if isinstance(found, dict) else {}
    if not all(isinstance(tables.get(name), list) for name in names):
        raise DataError(f"{path} lacks one of {', '.join(names)}; it should be an annotation file of COCO.")
    return {name: tables[name] for name in names}


def load(
    *,
    path: Path,
    images: str,
    roots: Roots,
    split: str = "val2014",
    sample: int = 500,
    prompt: str = PROMPT,
    max_tokens: int = 512,
) -> Benchmark:
    """Captions of COCO's pictures, from the user's own copy.

    Args:
        path: Folder with instances_SPLIT.json and captions_SPLIT.json.
        images: Name of the image root in [images] that holds the pictures.
        roots: Where pictures lie (given by the pipeline).
        split: Of COCO.
        sample: How many pictures, ≥ 1; a larger sample holds a smaller one.
        prompt: What is asked.
        max_tokens: Upper bound of a caption.
    """
    return ChairBenchmark(path, images, roots, split, positive(sample, "sample"), prompt, max_tokens)


EXAMPLES: tuple[Example, ...] = (
    Example("all and nothing else", "captions", ("=",), {"chair_s": (0,), "invented": (0,), "recall": (1,)}),
    Example("something invented", "captions", ("A zebra and two zebras.",), {"chair_s": (1,), "invented": (1,)}),
    Example("the longest phrase counts", "captions", ("A hot dog.",), {"mentioned": (1,)}),
    Example("says nothing", "captions", ("A nice view.",), {"mentioned": (0,), "recall": (0,), "length": (3,)}),
    Example("no reply, no value", "captions", (None,), {"chair_s": (None,), "recall": (None,)}),
)
