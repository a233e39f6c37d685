"""Pictures of a run by their hash, made small enough for one page."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from vlfeedback.errors import ConfigError, DataError, ImageError
from vlfeedback.images import MAX_BYTES, RUN_ROOT, Roots, prepare
from vlfeedback.records import Image
from vlfeedback.report._read import Artefacts
from vlfeedback.report._section import Picture

SMALL = 160
"""Pixels of the longer side up to which a picture is shown as it is, enlarged without smoothing."""

MOST_FILES = 5_000
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp"})
_RECIPE = "fit-480-jpeg85"


class Album:
    """Looks pictures up by hash: among the instructions' first, then among the run's and the benchmarks' own files."""

    def __init__(self, run: Artefacts) -> None:
        self._run = run
        named = {name: Path(str(place)) for name, place in run.section("images").items()}
        self._roots = Roots({**named, RUN_ROOT: run.path / "images"})
        self._known: dict[str, Image] = {}
        self._files: dict[str, Path] = {}

    def learn(self, hashes: Iterable[str]) -> None:
        """Find out where these pictures lie, all at once."""
        import polars as pl

        wanted = {one for one in hashes if one not in self._known and one not in self._files}
        table = self._run.frame("instructions", ["images"])
        if wanted and table is not None:
            listed = table.explode("images").drop_nulls().unnest("images").filter(pl.col("sha256").is_in(list(wanted)))
            self._known |= {row["sha256"]: Image(**row) for row in listed.unique("sha256").sort("sha256").to_dicts()}
        missing = wanted - self._known.keys()
        for path in islice(self._candidates(), MOST_FILES):
            if not missing:
                break
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            if digest in missing:
                missing.discard(digest)
                self._files[digest] = path

    def picture(self, sha256: str, alt: str) -> Picture:
        """A picture for the page; one that cannot be shown says why instead."""
        try:
            if sha256 in self._known:
                data = self._roots.open(self._known[sha256])
            elif sha256 in self._files:
                data = self._files[sha256].read_bytes()
            else:
                return Picture("", f"The picture is not on this machine (sha256 {sha256[:12]}…).")
            return _shown(data, alt)
        except (ImageError, ConfigError, DataError, OSError) as error:
            return Picture("", f"The picture cannot be shown: {error}")

    def _candidates(self) -> Iterator[Path]:
        """Picture files of the run folder and of its benchmarks, in a fixed order."""
        homes = [self._run.path / "images", self._run.path]
        for name in self._run.section("evaluate"):
            path = self._run.section("evaluate", name).get("path")
            homes += [Path(path)] if isinstance(path, str) else []
        for home in homes:
            if home.is_dir():
                for path in sorted(home.rglob("*")):
                    if path.suffix.lower() in SUFFIXES and path.is_file() and path.stat().st_size <= MAX_BYTES:
                        yield path


def _shown(data: bytes, alt: str) -> Picture:
    whole = prepare(data, "original")
    small = max(whole.width, whole.height) <= SMALL
    shown = whole if small else prepare(data, _RECIPE)
    encoded = base64.b64encode(shown.bytes).decode("ascii")
    return Picture(f"data:{shown.media_type};base64,{encoded}", alt, shown.width, small)
