"""Folders of pictures: each picture is asked its own prompts, and none is left out unsaid."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from picture_files import encoded, gradient

from vlfeedback.errors import ConfigError
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
