"""Pictures are found safely, whatever a dataset claims, and prepared the same way every time."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, strategies as st
from picture_files import animated, archive, encoded, gradient, pixels, png_header, rotated_jpeg
from PIL import Image as Pillow

from vlfeedback import cli
from vlfeedback.config import OWN_ROOT
from vlfeedback.errors import ConfigError, DataError, ImageError
from vlfeedback.images import RUN_ROOT, Roots, prepare, side, unopened
from vlfeedback.records import Image

JPEG = encoded(gradient(), "JPEG", quality=90)
PNG = encoded(gradient(), "PNG")


def rooted(folder: Path, **options: object) -> Roots:
    (folder / "pics").mkdir(exist_ok=True)
    return Roots({"pics": folder / "pics", "run": folder / "run"}, **options)


def test_settings_and_pictures_agree_on_the_name_of_the_runs_own_root() -> None:
    assert OWN_ROOT == RUN_ROOT


def put(folder: Path, name: str, data: bytes) -> Roots:
    roots = rooted(folder)
    (folder / "pics" / name).write_bytes(data)
    return roots


def reason(roots: Roots, relative: str, root: str = "pics") -> str:
    with pytest.raises(ImageError) as caught:
        roots.find(root, relative)
    assert caught.value.detail == str(caught.value)
    return caught.value.reason


def test_a_found_picture_has_hash_uri_and_size_and_can_be_opened(tmp_path: Path) -> None:
    roots = put(tmp_path, "a b.jpg", JPEG)
    image = roots.find("pics", "./a b.jpg")
    assert image == Image(hashlib.sha256(JPEG).hexdigest(), "pics:a b.jpg", 48, 32)
    assert roots.open(image) == JPEG
    assert roots.path(image.uri) == tmp_path / "pics" / "a b.jpg"


@pytest.mark.parametrize("orientation", range(1, 9))
def test_size_and_pixels_are_those_after_the_exif_turn(tmp_path: Path, orientation: int) -> None:
    data = rotated_jpeg(orientation)
    image = put(tmp_path, "a.jpg", data).find("pics", "a.jpg")
    assert (image.width, image.height) == ((32, 48) if orientation >= 5 else (48, 32))
    prepared = prepare(data)
    assert (prepared.width, prepared.height) == (image.width, image.height)
    assert pixels(prepared.bytes).size == (image.width, image.height)
    # where the upper left corner of the stored pixels belongs, counted from the end where negative
    corners = {1: (2, 2), 2: (-3, 2), 3: (-3, -3), 4: (2, -3), 5: (2, 2), 6: (-3, 2), 7: (-3, -3), 8: (2, -3)}
    x, y = corners[orientation]
    red, green, _ = pixels(prepared.bytes).getpixel((x % image.width, y % image.height))
    assert red > 200 and green < 60
    assert (prepared.bytes == data) == (orientation == 1)
    assert pixels(prepared.bytes).getexif().get(0x0112, 1) == 1


@pytest.mark.parametrize("orientation", [1, 6])
def test_tiff_is_turned_once(tmp_path: Path, orientation: int) -> None:
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    data = encoded(gradient(), "TIFF", exif=exif)
    image = put(tmp_path, "a.tiff", data).find("pics", "a.tiff")
    expected = (32, 48) if orientation == 6 else (48, 32)
    assert (image.width, image.height) == expected
    assert (prepare(data).width, prepare(data).height) == expected


@pytest.mark.parametrize(
    ("relative", "expected"),
    [
        ("../secret.jpg", "refused_path"),
        ("x/../../secret.jpg", "refused_path"),
        ("../pics/a.jpg", "refused_path"),
        ("..", "refused_path"),
        ("..\\secret.jpg", "refused_path"),
        ("/etc/hostname", "refused_path"),
        ("//host/share/a.jpg", "refused_path"),
        ("C:\\a.jpg", "refused_path"),
        ("", "refused_path"),
        ("a\0.jpg", "refused_path"),
        ("a\ud800.jpg", "refused_path"),
        ("http://host/a.jpg", "refused_uri"),
        (" https://host/a.jpg", "refused_uri"),
        ("HTTPS://host/a.jpg", "refused_uri"),
        ("file:///etc/hostname", "refused_uri"),
        ("file:/etc/hostname", "refused_uri"),
        ("data:image/png;base64,AAAA", "refused_uri"),
        ("s3://bucket/a.jpg", "refused_uri"),
        ("no.jpg", "missing_image"),
        ("no/such/folder/a.jpg", "missing_image"),
        ("a.jpg/b.jpg", "missing_image"),
        ("n" * 5000, "missing_image"),
        ("~/a.jpg", "missing_image"),
    ],
)
def test_names_that_are_refused_or_lead_nowhere(tmp_path: Path, relative: str, expected: str) -> None:
    (tmp_path / "secret.jpg").write_bytes(JPEG)
    roots = put(tmp_path, "a.jpg", JPEG)
    assert reason(roots, relative) == expected
    with pytest.raises(ImageError) as caught:
        roots.open(Image(hashlib.sha256(JPEG).hexdigest(), f"pics:{relative}", 48, 32))
    assert caught.value.reason in {expected, "refused_uri"}  # pics://host/… reads like a URL


@given(st.text(alphabet=st.sampled_from("./\\:ab~ %"), max_size=12) | st.text(max_size=12))
def test_no_name_whatsoever_leads_out_of_its_root(relative: str) -> None:
    roots = Roots({"r": Path("/nowhere/root")})
    try:
        path = roots.path(f"r:{relative}")
    except ImageError as error:
        assert error.reason in {"refused_path", "refused_uri", "missing_image"}
    else:
        assert path.is_relative_to("/nowhere/root")


def test_links_are_followed_inside_their_root_only(tmp_path: Path) -> None:
    roots = put(tmp_path, "a.jpg", JPEG)
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "b.jpg").write_bytes(JPEG)
    (tmp_path / "pics" / "in.jpg").symlink_to("a.jpg")
    (tmp_path / "pics" / "out.jpg").symlink_to(tmp_path / "outside" / "b.jpg")
    (tmp_path / "pics" / "folder").symlink_to(tmp_path / "outside")
    (tmp_path / "pics" / "loop.jpg").symlink_to("loop.jpg")
    assert roots.find("pics", "in.jpg").width == 48
    assert reason(roots, "out.jpg") == "refused_path"
    assert reason(roots, "folder/b.jpg") == "refused_path"
    assert reason(roots, "loop.jpg") == "missing_image"
    (tmp_path / "link").symlink_to(tmp_path / "pics")
    assert Roots({"linked": tmp_path / "link"}).find("linked", "a.jpg").width == 48


def test_a_file_that_becomes_a_link_is_looked_at_again(tmp_path: Path) -> None:
    """Folders are remembered, the last step of a path is not."""
    (tmp_path / "pics" / "deep").mkdir(parents=True)
    roots = put(tmp_path, "deep/a.jpg", JPEG)
    image = roots.find("pics", "deep/a.jpg")
    assert roots.open(image) == JPEG
    (tmp_path / "secret.jpg").write_bytes(JPEG)
    (tmp_path / "pics" / "deep" / "a.jpg").unlink()
    (tmp_path / "pics" / "deep" / "a.jpg").symlink_to(tmp_path / "secret.jpg")
    with pytest.raises(ImageError) as caught:
        roots.open(image)
    assert caught.value.reason == "refused_path"


def test_outside_paths_pass_where_the_user_allows_them(tmp_path: Path) -> None:
    (tmp_path / "else where.jpg").write_bytes(JPEG)
    roots = rooted(tmp_path, allow_outside=True)
    for relative in ("../else where.jpg", str(tmp_path / "else where.jpg"), f"file://{tmp_path}/else%20where.jpg"):
        image = roots.find("pics", relative)
        assert roots.open(image) == JPEG
    assert reason(roots, "http://host/a.jpg") == "refused_uri"


def test_urls_are_fetched_where_the_user_allows_them(tmp_path: Path) -> None:
    roots = rooted(tmp_path, allow_urls=True)
    image = roots.find("pics", "data:image/png;base64," + base64.b64encode(PNG).decode())
    assert image.uri.startswith("run:") and roots.open(image) == PNG
    assert reason(roots, "data:image/png;base64,AAAA") == "bad_image"
    assert reason(roots, "http://127.0.0.1:9/a.jpg") == "missing_image"
    assert reason(roots, "file:///etc/hostname") == "refused_uri"
    small = rooted(tmp_path, allow_urls=True, max_bytes=8)
    assert reason(small, "data:image/png;base64," + base64.b64encode(PNG).decode()) == "image_too_large"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xd8\xff\xe0 no picture",
        b"<html>not found</html>",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        encoded(gradient(), "PCX"),  # whole, but of a format that nobody asked for
        JPEG[: len(JPEG) // 2],
        JPEG[:-2],
        PNG[: len(PNG) // 2],
        animated("GIF")[:40],
        encoded(gradient(), "WEBP")[:60],
        png_header(48, 32),
    ],
    ids=[
        "empty",
        "noise",
        "html",
        "eps",
        "pcx",
        "half-jpeg",
        "jpeg-end",
        "half-png",
        "half-gif",
        "half-webp",
        "no-pixels",
    ],
)
def test_files_that_are_no_whole_picture(tmp_path: Path, data: bytes) -> None:
    roots = put(tmp_path, "a.jpg", data)
    assert reason(roots, "a.jpg") == "bad_image"
    with pytest.raises(ImageError) as caught:
        prepare(data, "fit-16-png")
    assert caught.value.reason == "bad_image"
    with pytest.raises(ImageError):
        roots.add(data, ".jpg")


def test_a_file_that_is_no_picture_is_called_so(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="is not a picture in one of the formats JPEG, PNG"):
        put(tmp_path, "a.jpg", b"<html>not found</html>").find("pics", "a.jpg")


def test_a_picture_of_two_views_is_taken_as_its_first(tmp_path: Path) -> None:
    first, second = Pillow.new("RGB", (48, 32), (200, 10, 10)), Pillow.new("RGB", (48, 32), (10, 200, 10))
    target = io.BytesIO()
    first.save(target, "MPO", save_all=True, append_images=[second])
    assert Pillow.open(io.BytesIO(target.getvalue())).format == "MPO"
    roots = put(tmp_path, "a.jpg", target.getvalue())
    assert roots.find("pics", "a.jpg").width == 48
    sent = Pillow.open(io.BytesIO(prepare(target.getvalue()).bytes))
    assert (sent.format, sent.size) == ("JPEG", (48, 32))
    red, green, _ = sent.getpixel((5, 5))
    assert red > green


def test_a_bomb_is_refused_by_its_header_before_anything_is_decoded(tmp_path: Path) -> None:
    bomb = png_header(20_000, 20_000)
    assert reason(put(tmp_path, "bomb.png", bomb), "bomb.png") == "image_too_large"
    for recipe in ("original", "fit-1024-jpeg90"):
        with pytest.raises(ImageError) as caught:
            prepare(bomb, recipe)
        assert caught.value.reason == "image_too_large"
    put(tmp_path, "large.png", png_header(9_500, 9_400))
    assert reason(rooted(tmp_path), "large.png") == "image_too_large"
    put(tmp_path, "small.png", PNG)
    assert reason(rooted(tmp_path, max_pixels=48 * 32 - 1), "small.png") == "image_too_large"
    assert rooted(tmp_path, max_pixels=48 * 32).find("pics", "small.png").width == 48


def test_a_bound_beyond_pillows_own_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pillow, "MAX_IMAGE_PIXELS", 100)  # twice that it refuses by itself
    put(tmp_path, "a.png", PNG)
    assert rooted(tmp_path, max_pixels=48 * 32).find("pics", "a.png").width == 48
    assert prepare(PNG, "fit-8-png", max_pixels=48 * 32).width == 8


def test_a_command_does_not_pass_on_pillows_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    def app(**_: object) -> int:
        warnings.warn("Image size (96040000 pixels) exceeds limit of 1 pixels", Pillow.DecompressionBombWarning, 2)
        return 0

    monkeypatch.setattr(cli, "app", app)
    with warnings.catch_warnings(record=True) as told, pytest.raises(SystemExit):
        cli.main()
    assert not told


def test_a_root_that_is_a_file_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "pics.tar").write_bytes(b"x")
    with pytest.raises(DataError, match=r"pics = .*pics\.tar: this is a file, neither a folder nor a \.zip. Unpack it"):
        Roots({"pics": tmp_path / "pics.tar"}).find("pics", "a.png")


def test_an_empty_file_is_called_empty(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="is empty"):
        put(tmp_path, "a.jpg", b"").find("pics", "a.jpg")


def test_huge_files_pipes_and_folders_are_refused(tmp_path: Path) -> None:
    put(tmp_path, "a.png", PNG)
    (tmp_path / "pics" / "folder.jpg").mkdir()
    os.mkfifo(tmp_path / "pics" / "pipe.jpg")
    assert reason(rooted(tmp_path, max_bytes=len(PNG) - 1), "a.png") == "image_too_large"
    assert rooted(tmp_path, max_bytes=len(PNG)).find("pics", "a.png").height == 32
    assert reason(rooted(tmp_path), "folder.jpg") == "bad_image"
    assert reason(rooted(tmp_path), "pipe.jpg") == "bad_image"


def test_a_picture_that_changed_is_not_passed_off_as_the_one_that_was_read(tmp_path: Path) -> None:
    roots = put(tmp_path, "a.jpg", JPEG)
    image = roots.find("pics", "a.jpg")
    (tmp_path / "pics" / "a.jpg").write_bytes(PNG)
    with pytest.raises(ImageError, match="changed") as caught:
        roots.open(image)
    assert caught.value.reason == "bad_image"


def test_unknown_and_absent_roots_are_named(tmp_path: Path) -> None:
    roots = Roots({"coco": tmp_path / "no"})
    with pytest.raises(ConfigError, match="did you mean 'coco'"):
        roots.find("cocco", "a.jpg")
    with pytest.raises(DataError, match="no such folder"):
        roots.find("coco", "a.jpg")
    with pytest.raises(ImageError) as caught:
        roots.open(Image("0" * 64, "vg:a.jpg", 1, 1))
    assert caught.value.reason == "missing_image"
    with pytest.raises(ImageError) as caught:
        roots.path("no colon.jpg")
    assert caught.value.reason == "refused_uri"
    with pytest.raises(ConfigError):
        Roots({"a:b": tmp_path})
    with pytest.raises(ConfigError):
        roots.add(PNG, ".png")


def test_added_pictures_lie_under_their_hash_once(tmp_path: Path) -> None:
    roots = rooted(tmp_path)
    image = roots.add(PNG, ".png")
    digest = hashlib.sha256(PNG).hexdigest()
    assert image == Image(digest, f"run:{digest[:2]}/{digest}.png", 48, 32)
    assert roots.add(PNG, ".png") == image and roots.add(PNG) == image
    assert roots.add(JPEG).uri.endswith(".jpg")
    assert roots.open(image) == PNG
    files = [file for file in (tmp_path / "run").rglob("*") if file.is_file()]
    assert len(files) == 2
    with pytest.raises(ImageError):
        roots.add(PNG, "/../../../../out.png")
    assert not (tmp_path / "out.png").exists()


class TestArchives:
    def test_members_are_read_in_place(self, tmp_path: Path) -> None:
        members = {"merged/a.jpg": JPEG, "./merged//b.png": PNG}
        roots = Roots({"zip": archive(tmp_path / "x.zip", members)})
        image = roots.find("zip", "merged/a.jpg")
        assert image.sha256 == hashlib.sha256(JPEG).hexdigest() and image.uri == "zip:merged/a.jpg"
        assert roots.open(image) == JPEG
        assert roots.find("zip", "b.png").width == 48  # without the folder that all members share
        assert sorted(path.name for path in tmp_path.iterdir()) == ["x.zip"]
        with pytest.raises(ImageError, match="no path"):
            roots.path(image.uri)

    def test_members_with_names_that_climb_out_do_not_exist(self, tmp_path: Path) -> None:
        members = {"../evil.jpg": JPEG, "/abs.jpg": JPEG, "a/../../up.jpg": JPEG, "ok.jpg": JPEG}
        roots = Roots({"zip": archive(tmp_path / "x.zip", members)})
        assert roots.find("zip", "ok.jpg").width == 48
        for name in ("../evil.jpg", "/abs.jpg", "a/../../up.jpg"):
            assert reason(roots, name, "zip") == "refused_path"
        for name in ("evil.jpg", "abs.jpg", "up.jpg"):
            assert reason(roots, name, "zip") == "missing_image"
        assert not (tmp_path.parent / "evil.jpg").exists()

    def test_damaged_and_oversized_members(self, tmp_path: Path) -> None:
        place = archive(
            tmp_path / "x.zip", {"zeros.png": b"\0" * 100_000, "cut.jpg": JPEG[:300], "a/": b"", "ok.png": PNG}
        )
        roots = Roots({"zip": place}, max_bytes=50_000)
        assert reason(roots, "zeros.png", "zip") == "image_too_large"
        assert reason(roots, "cut.jpg", "zip") == "bad_image"
        assert reason(roots, "a", "zip") == "missing_image"
        data = bytearray(place.read_bytes())
        start = data.index(b"ok.png") + 20  # behind the name: the packed bytes of the picture
        data[start : start + 8] = b"\xff" * 8
        place.write_bytes(data)
        assert reason(Roots({"zip": place}), "ok.png", "zip") == "bad_image"

    def test_a_file_that_is_no_archive(self, tmp_path: Path) -> None:
        (tmp_path / "x.zip").write_bytes(b"PK\x03\x04 cut off")
        with pytest.raises(DataError, match="ZIP"):
            Roots({"zip": tmp_path / "x.zip"}).find("zip", "a.jpg")

    def test_many_threads_read_one_archive(self, tmp_path: Path) -> None:
        members = {f"{n}.png": encoded(gradient(20 + n, 20), "PNG") for n in range(12)}
        roots = Roots({"zip": archive(tmp_path / "x.zip", members)})
        with ThreadPoolExecutor(8) as pool:
            images = list(pool.map(lambda n: roots.find("zip", f"{n % 12}.png"), range(120)))
            data = list(pool.map(roots.open, images))
        assert [image.width for image in images] == [20 + n % 12 for n in range(120)]
        assert data == [members[f"{n % 12}.png"] for n in range(120)]


def test_side_is_decided_by_pictures_alone() -> None:
    low, high = Image("00" * 32, "a:b", 1, 1), Image("ff" * 32, "a:b", 1, 1)
    assert side("one", [low], 0.5) == side("two", [low, low], 0.5) == "eval"
    assert side("one", [high], 0.5) == "train"
    assert side("one", [low, high], 0.5) is None
    assert side("one", [low], 0.0) == "train" and side("one", [high], 1.0) == "eval"
    shares = [side(str(n), [], 0.3) for n in range(2000)]
    assert 0.25 < shares.count("eval") / 2000 < 0.35


def test_unopened_pictures_are_named_by_their_uri() -> None:
    image = unopened("pics", "x/./a.jpg")
    assert image.uri == "pics:x/a.jpg" and image.sha256.startswith("uri:") and len(image.sha256) == 36
    assert image == unopened("pics", "x/a.jpg") != unopened("pics", "x/b.jpg")
    assert side("p", [image], 1.0) == "eval"
    with pytest.raises(ImageError):
        unopened("pics", "../a.jpg")


def test_unopened_pictures_can_be_read(tmp_path: Path) -> None:
    roots = put(tmp_path, "a.jpg", JPEG)
    assert roots.open(unopened("pics", "a.jpg")) == JPEG
