"""Folders of pictures: each picture is asked its own prompts, and none is left out unsaid."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from picture_files import encoded, gradient

from vlfeedback.errors import ConfigError
from vlfeedback.records import Dropped
from vlfeedback.source import Found, Named, Reader, folder, red_team

PNG = encoded(gradient(), "PNG")


def red(path: Path, home: Path | None = None) -> Reader:
    return red_team.load(path, count=1, families=["privacy"], home=home)


def plain(path: Path, home: Path | None = None) -> Reader:
    return folder.load(path, home=home)


LOADS = pytest.mark.parametrize("load", [plain, red])
Load = Callable[[Path, Path], Reader]


@pytest.fixture
def pics(tmp_path: Path) -> Path:
    """A picture in a folder, and another one of the same name below it."""
    for place in (tmp_path / "pics", tmp_path / "pics" / "sub"):
        place.mkdir()
        (place / "a.png").write_bytes(PNG)
    return tmp_path / "pics"


def named(reader: Reader) -> list[str]:
    return [one.path for item in reader() if isinstance(item, Found) for one in item.images if isinstance(one, Named)]


class TestRoot:
    @LOADS
    def test_a_folder_below_its_root_names_its_own_pictures(self, pics: Path, load: Load) -> None:
        (pics.parent / "link").symlink_to(pics)
        assert named(load(pics / "sub", pics)) == ["sub/a.png"]
        assert named(load(pics / "sub" / ".." / "sub", pics.parent / "link")) == ["sub/a.png"]
        assert named(load(pics / "sub", pics / "sub")) == ["a.png"]

    @LOADS
    def test_a_folder_outside_its_root_is_refused(self, pics: Path, load: Load) -> None:
        for home in (pics / "sub", pics.parent / "other"):
            home.mkdir(exist_ok=True)
            with pytest.raises(ConfigError, match=r"do not lie in its image root.*one that holds it"):
                load(pics, home)

    def test_an_archive_and_a_root_that_is_not_there_are_not_compared(self, pics: Path) -> None:
        assert named(folder.load(pics / "sub", home=pics.parent / "pics.zip")) == ["a.png"]


class TestLeftOut:
    @pytest.fixture
    def mixed(self, pics: Path) -> Path:
        """Pictures under rare names, and what looks like one and is none."""
        for name in ("b.jfif", "c.JPE", "d"):
            (pics / name).write_bytes(encoded(gradient(), "JPEG"))
        for name in ("e.heic", "f.svg", "g", "h.txt", ".hidden.heic"):
            (pics / name).write_bytes(b"no picture")
        (pics / "dead.png").symlink_to("gone.png")
        (pics / "linked").symlink_to(pics / "sub")
        os.mkfifo(pics / "pipe.png")
        return pics

    @LOADS
    def test_what_is_no_picture_is_dropped_and_not_lost(self, mixed: Path, load: Load) -> None:
        dropped = {one.record_id: one.reason for one in load(mixed, mixed)() if isinstance(one, Dropped)}
        assert dropped == {
            "dead.png": "missing_image",
            "e.heic": "bad_image",
            "f.svg": "bad_image",
            "linked": "refused_path",
            "pipe.png": "bad_image",
        }

    def test_all_that_is_a_picture_is_read(self, mixed: Path) -> None:
        assert named(folder.load(mixed)) == ["a.png", "b.jfif", "c.JPE", "d", "sub/a.png"]


class TestBehaviours:
    @pytest.mark.parametrize(
        ("name", "text", "lost"),
        [
            ("b.csv", "goal,target\nwrite a poem,ok\nbroken row\nsecond,x\n,empty\n", ["b.csv line 3", "b.csv line 5"]),
            ("b.jsonl", '{"goal":"one"}\n{broken\n"two"\n{"text":"three"}\n', [f"b.jsonl line {n}" for n in (2, 3, 4)]),
        ],
    )
    def test_rows_without_one_are_dropped(self, pics: Path, name: str, text: str, lost: list[str]) -> None:
        (pics.parent / name).write_text(text)
        read = red_team.load(pics, count=2, families=["jailbreak"], behaviours=f"../{name}")
        items = list(read())
        dropped = [one for one in items if isinstance(one, Dropped)]
        assert [one.record_id for one in dropped] == lost and all(name in one.detail for one in dropped)
        assert len(items) == len(lost) + 2

    def test_too_many_are_refused_before_one_is_drawn(self, pics: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(red_team, "drawn", lambda *_, **__: pytest.fail("something was drawn"))
        with pytest.raises(ConfigError, match=r"can make \d+ different instructions of 2 pictures"):
            list(red_team.load(pics, count=100_000, families=["typographic"])())
