"""A picture that was hashed is read bit by bit as it goes out, and never anything else in its place."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from picture_files import encoded, gradient

from vlfeedback import _images_still
from vlfeedback.errors import ImageError
from vlfeedback.images import Roots
from vlfeedback.models._base64 import ENCODED, Base64, whole
from vlfeedback.models._pictures import Addresses
from vlfeedback.records import Image


def drawn(folder: Path, size: int) -> Roots:
    """A root with a picture `a.jpg` of at least that many bytes: what follows a JPEG's end is no part of it."""
    folder.mkdir(exist_ok=True)
    data = encoded(gradient(), "JPEG")
    (folder / "a.jpg").write_bytes(data + os.urandom(max(0, size - len(data))))
    return Roots({"pics": folder})


@pytest.mark.parametrize("size", [0, 2 * ENCODED, 3 * ENCODED + 5])
def test_it_goes_out_as_it_lies_there_and_none_of_it_is_kept(tmp_path: Path, size: int) -> None:
    roots = drawn(tmp_path / "pics", size)
    image = roots.find("pics", "a.jpg")
    assert roots.still(image) is not None
    head, picture = Addresses(roots, "data").sent(image, "original")
    assert (head, whole(picture)) == (b"data:image/jpeg;base64,", whole(Base64(roots.open(image))))
    assert len(picture) == len(whole(picture))


def test_what_was_not_hashed_here_is_opened_and_hashed_first(tmp_path: Path) -> None:
    image = drawn(tmp_path / "pics", 0).find("pics", "a.jpg")
    roots = Roots({"pics": tmp_path / "pics"})
    assert roots.still(image) is None
    roots.open(image)
    assert roots.still(image) is not None
    assert roots.still(Image("0" * 64, image.uri, 1, 1)) is None, "it has another hash"


def test_a_file_that_is_another_one_now_is_hashed_again(tmp_path: Path) -> None:
    roots = drawn(tmp_path / "pics", 0)
    image = roots.find("pics", "a.jpg")
    place = tmp_path / "pics" / "a.jpg"
    os.utime(place, ns=(1, 1))
    assert roots.still(image) is None
    assert roots.open(image) == place.read_bytes()
    assert roots.still(image) is not None
    place.write_bytes(place.read_bytes() + b"!")
    assert roots.still(image) is None
    with pytest.raises(ImageError, match="has changed"):
        Addresses(roots, "data").sent(image, "original")


def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    roots = drawn(tmp_path / "pics", 0)
    image = roots.find("pics", "a.jpg")
    place = tmp_path / "pics" / "a.jpg"
    place.rename(tmp_path / "elsewhere.jpg")
    place.symlink_to(tmp_path / "elsewhere.jpg")  # the very file: same node, size and time
    assert roots.still(image) is None


@pytest.mark.parametrize("what", ["touched", "shorter", "gone", "link", "another"])
def test_nothing_more_goes_out_once_the_file_is_another_one(tmp_path: Path, what: str) -> None:
    roots = drawn(tmp_path / "pics", 4 * ENCODED)
    still = roots.still(roots.find("pics", "a.jpg"))
    assert still is not None
    place = tmp_path / "pics" / "a.jpg"
    pieces = Base64(still).pieces()
    next(pieces)
    if what == "touched":
        os.utime(place, ns=(1, 1))
    elif what == "shorter":
        place.write_bytes(place.read_bytes()[: 3 * ENCODED])
    elif what == "another":
        (tmp_path / "other").write_bytes(place.read_bytes())
        (tmp_path / "other").replace(place)
    else:
        place.rename(tmp_path / "elsewhere.jpg")
        if what == "link":
            place.symlink_to(tmp_path / "elsewhere.jpg")
    with pytest.raises(ImageError):
        next(pieces)


def test_pictures_that_are_under_way_hold_no_descriptors(tmp_path: Path) -> None:
    roots = drawn(tmp_path / "pics", 4 * ENCODED)
    still = roots.still(roots.find("pics", "a.jpg"))
    assert still is not None
    before = len(list(Path("/proc/self/fd").iterdir()))
    under_way = [Base64(still).pieces() for _ in range(20)]
    for pieces in under_way:
        next(pieces)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_pieces_are_read_to_one_place(tmp_path: Path) -> None:
    roots = drawn(tmp_path / "pics", 4 * ENCODED)
    still = roots.still(roots.find("pics", "a.jpg"))
    assert still is not None
    list(Base64(still).pieces())
    room = _images_still._place.room  # pyright: ignore[reportPrivateUsage]
    list(Base64(still).pieces())
    assert _images_still._place.room is room  # pyright: ignore[reportPrivateUsage]
    assert len(room) <= 2 * ENCODED
