"""Whatever bytes an archive of pictures is made of: a picture, or a sentence that says what is wrong."""

from __future__ import annotations

import io
import random
import zipfile
from pathlib import Path

import pytest
from picture_files import archive

from vlfeedback._images_archive import Archive, open_archive
from vlfeedback.errors import DataError, ImageError

PACKED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2)
MOST = 10_000


def members() -> dict[str, bytes]:
    drawn = random.Random(7)
    return {f"d/{packed}.png": drawn.randbytes(60) + b"abc" * 40 for packed in PACKED}


def written(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as target:
        for packed, (name, data) in zip(PACKED, members().items(), strict=True):
            target.writestr(name, data, compress_type=packed)
    return path


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_changed_bytes_are_told_and_never_read_as_another_picture(tmp_path: Path, seed: int) -> None:
    place, drawn = written(tmp_path / "x.zip"), random.Random(seed)
    whole, pictures = place.read_bytes(), members()
    found = dict.fromkeys(("the picture", "bad_image", "no archive"), 0)
    for _ in range(300):
        data = bytearray(whole)
        for _ in range(drawn.randint(1, 3)):
            data[drawn.randrange(len(data))] = drawn.randrange(256)
        place.write_bytes(data)
        try:
            opened = Archive(place)
        except DataError as error:
            assert str(place) in str(error) and "copied completely" in str(error)
            found["no archive"] += 1
            continue
        for name, picture in pictures.items():
            try:
                assert opened.read(name, MOST) == picture
                found["the picture"] += 1
            except ImageError as error:
                assert name in error.detail
                found[error.reason] = found.get(error.reason, 0) + 1
    assert all(found.values())


@pytest.mark.parametrize("packed", PACKED)
def test_one_damaged_member_leaves_the_others(tmp_path: Path, packed: int) -> None:
    place, pictures = written(tmp_path / "x.zip"), members()
    data, name = bytearray(place.read_bytes()), f"d/{packed}.png"
    with zipfile.ZipFile(io.BytesIO(data)) as read:
        info = read.getinfo(name)
    start = info.header_offset + 30 + len(name) + 20  # behind what says how it is packed
    data[start : start + 20] = b"\xff" * 20
    place.write_bytes(data)
    opened = Archive(place)
    with pytest.raises(ImageError, match=r"cannot be unpacked: \w") as caught:
        opened.read(name, MOST)
    assert caught.value.reason == "bad_image"
    assert [opened.read(other, MOST) for other in pictures if other != name] == [
        picture for other, picture in pictures.items() if other != name
    ]


def test_a_member_without_a_name_does_not_exist(tmp_path: Path) -> None:
    place = written(tmp_path / "x.zip")
    place.write_bytes(place.read_bytes().replace(b"d/0.png", b"\0/0.png"))
    assert Archive(place).read("8.png", MOST) == members()["d/8.png"]


def test_what_a_mac_adds_is_no_second_top_folder(tmp_path: Path) -> None:
    beside = ("__MACOSX/train/._a.png", "__MACOSX/._train", "train/._a.png", "._train", ".DS_Store", "train/.DS_Store")
    place = archive(tmp_path / "x.zip", {"train/a.png": b"a", **dict.fromkeys(beside, b"mac")})
    assert Archive(place).read("a.png", MOST) == Archive(place).read("train/a.png", MOST) == b"a"
    assert Archive(place).read(beside[0], MOST) == b"mac"  # it is there for whoever names it
    for other in ("b.png", "test/b.png", "MACOSX/b.png"):
        place = archive(tmp_path / "y.zip", {"train/a.png": b"a", other: b"b", **dict.fromkeys(beside, b"mac")})
        with pytest.raises(ImageError, match="has no member"):
            Archive(place).read("a.png", MOST)


def test_an_archive_of_a_later_version_is_said_in_a_sentence(tmp_path: Path) -> None:
    place = written(tmp_path / "x.zip")
    data = bytearray(place.read_bytes())
    data[data.index(b"PK\x01\x02") + 6] = 199
    place.write_bytes(data)
    for opening in (Archive, open_archive):
        with pytest.raises(DataError, match=r"x\.zip cannot be read as a ZIP archive: zip file version 19\.9\. Check"):
            opening(place)
