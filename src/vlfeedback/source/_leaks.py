"""Instructions that are also questions of a benchmark: they would teach the answers."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from typing import NamedTuple

from vlfeedback.records import Image
from vlfeedback.source._near import Looks

_INSIDE = re.compile(r"[\W_]*+(.*[^\W_])", re.DOTALL)
"""From the first letter or digit to the last; read once, where a search for the end's signs would start at each."""


class Known(NamedTuple):
    """A question of a benchmark: what to call it, its prompt and its pictures."""

    name: str
    prompt: str
    images: tuple[Image, ...]


def plain(prompt: str) -> str:
    """A prompt without what does not change the question: case, width, blanks, and signs at both ends."""
    folded = unicodedata.normalize("NFKC", prompt).casefold()
    inside = _INSIDE.match(" ".join(folded.split()))
    return inside[1] if inside else folded.strip()


class Leaks:
    """Finds what shares a picture, or its whole question, with benchmarks.

    Attributes:
        asked_elsewhere: Questions of a benchmark on other pictures; only counted, as they teach no answer.
    """

    def __init__(self, known: Iterable[Known], looks: Looks) -> None:
        self._looks = looks
        self._pictures: dict[str, str] = {}
        self._numbers: dict[int, str] = {}
        self._prompts: dict[str, str] = {}
        self._without_picture: set[str] = set()
        self.asked_elsewhere = 0
        for name, prompt, images in known:
            self._prompts.setdefault(plain(prompt), name)
            if not images:
                self._without_picture.add(plain(prompt))
            for image in images:
                self._pictures.setdefault(image.sha256, name)
                number = looks.add(image)
                if number is not None:
                    self._numbers.setdefault(number, name)
        self._within = looks.within(list(self._numbers)) if self._numbers else None
        self._seen: dict[str, str | None] = {}

    def found(self, prompt: str, images: tuple[Image, ...]) -> str | None:
        """What an instruction shares with a benchmark, in words; None where it shares nothing."""
        for image in images:
            if image.sha256 not in self._seen:
                self._seen[image.sha256] = self._picture(image)
            if said := self._seen[image.sha256]:
                return said
        key = plain(prompt)
        name = self._prompts.get(key)
        if name is None:
            return None
        if not images or key in self._without_picture:
            return f"its question is that of {name}"
        self.asked_elsewhere += 1
        return None

    def _picture(self, image: Image) -> str | None:
        if name := self._pictures.get(image.sha256):
            return f"its picture is one of {name}"
        number = self._looks.add(image)
        if number is None or self._within is None:
            return None
        same = self._within.alike(self._looks.look_of(number))
        return None if same is None else f"its picture looks like one of {self._numbers[same]}"
