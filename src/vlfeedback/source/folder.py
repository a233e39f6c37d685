"""A folder of pictures: the quickest way to feedback on your own images.

Tested on: the picture folders of OwlEval and RLAIF-V, with `questions.txt` of SVIT as prompts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from vlfeedback.errors import ConfigError, DataError
from vlfeedback.records import Dropped
from vlfeedback.source import Example, Found, Named, Reader
from vlfeedback.source._files import below, lines_of
from vlfeedback.source._picture_files import picture_files

TESTED_ON: tuple[str, ...] = ("OwlEval cases/", "RLAIF-V imgs_detail/", "SVIT questions.txt")


def load(
    path: Path, *, prompt: str = "Describe this image in detail.", prompts: str = "", home: Path | None = None
) -> Reader:
    """Read a folder of pictures and its sub-folders, by name.

    The prompts of `cat.jpg` are the lines of `cat.txt` beside it, if that is there. Otherwise it is one line of the
    file `prompts`, chosen by the picture's name, or `prompt`. The source's `images` must be a root that is this folder,
    or one that holds it. The category is the sub-folder.

    JPEG (`.jpg`, `.jpeg`, `.jpe`, `.jfif`), PNG, WebP, GIF, BMP and TIFF are read, also where a name has no ending.
    Texts and tables (`.txt`, `.md`, `.json`, `.csv` and the like) and hidden files are passed over; all others, dead
    links and links to folders are dropped.

    Args:
        path: The folder.
        prompt: For pictures without a file of their own.
        prompts: A text file of prompts, one a line, relative to the folder or absolute; instead of `prompt`.
        home: Place of the source's image root (given by the pipeline).
    Raises:
        DataError: the folder or the file of prompts is not there, or is empty.
        ConfigError: there are no prompts, or the folder does not lie in the root.
    """
    if not path.is_dir():
        raise DataError(f"{path} is not a folder. Check `path` of the source")
    choices = lines_of(path / prompts) if prompts else [prompt]
    if not choices or not choices[0].strip():
        raise ConfigError(f"no prompts for {path}: give `prompt`, or in `prompts` a file with one a line")

    way = below(path, home)

    def read() -> Iterator[Found | Dropped]:
        for file in picture_files(path):
            if isinstance(file, Dropped):
                yield file
                continue
            name = file.relative_to(path).as_posix()
            parent = file.parent.relative_to(path).as_posix()
            category = "" if parent == "." else parent
            beside = file.with_suffix(".txt")
            own = lines_of(beside) if beside.is_file() else [_choose(name, choices)]
            if not own:
                yield Dropped("source", name, "empty_prompt", f"{beside.name} has no line with text")
            for number, line in enumerate(own, 1):
                yield Found(name if len(own) == 1 else f"{name}#{number}", line, (Named(f"{way}{name}"),), category)

    return read


def _choose(name: str, choices: list[str]) -> str:
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()
    return choices[int.from_bytes(digest[:8], "big") % len(choices)]


EXAMPLES = (
    Example(
        {
            "b.PNG": b"",
            "a.jpg": b"",
            "a.txt": "What is it?\n\nWhere is it?\n",
            "x/c.webp": b"",
            "x/d.webp": b"",
            "x/d.txt": " \n",
            "note.md": "no picture",
            "y.HEIC": b"",
            "z": b"\xff\xd8\xff",
            "zz": b"no picture",
        },
        "",
        (
            Found("a.jpg#1", "What is it?", (Named("a.jpg"),)),
            Found("a.jpg#2", "Where is it?", (Named("a.jpg"),)),
            Found("b.PNG", "Describe.", (Named("b.PNG"),)),
            Found("x/c.webp", "Describe.", (Named("x/c.webp"),), "x"),
            Dropped("source", "x/d.webp", "empty_prompt"),
            Dropped("source", "y.HEIC", "bad_image"),
            Found("z", "Describe.", (Named("z"),)),
        ),
        {"prompt": "Describe."},
    ),
)
