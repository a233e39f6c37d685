"""Pictures are opened many at a time and looked at once, and nobody can tell from what comes out."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from picture_files import animated, encoded, gradient, rotated_jpeg
from PIL import Image as Pillow

from vlfeedback import flow, images
from vlfeedback._images_room import Room
from vlfeedback.errors import DataError, ImageError
from vlfeedback.images import Roots, appearance
from vlfeedback.records import Dropped, Image, Instruction
from vlfeedback.source import (
    Embedded,
    Found,
    Named,
    Source,
    _opening as opening,  # pyright: ignore[reportPrivateUsage]
    instructions,
)


def noisy(width: int, height: int) -> Pillow.Image:
    return Pillow.merge("RGB", [Pillow.effect_noise((width, height), spread) for spread in (90, 60, 30)])


KINDS: dict[str, Callable[[], bytes]] = {
    "jpeg": lambda: encoded(noisy(900, 700), "JPEG", quality=90),
    "wide": lambda: encoded(noisy(2000, 210), "JPEG"),
    "small": lambda: encoded(noisy(90, 70), "JPEG"),
    "progressive": lambda: encoded(noisy(800, 800), "JPEG", progressive=True),
    "turned": lambda: rotated_jpeg(6, 640, 480),
    "gray": lambda: encoded(noisy(700, 500).convert("L"), "JPEG"),
    "cmyk": lambda: encoded(noisy(700, 500).convert("CMYK"), "JPEG"),
    "png": lambda: encoded(noisy(300, 200), "PNG"),
    "palette": lambda: encoded(noisy(300, 200).quantize(), "PNG"),
    "deep": lambda: encoded(Pillow.new("I;16", (30, 20), 40_000), "PNG"),
    "glass": lambda: encoded(gradient(mode="RGBA"), "PNG"),
    "moving": lambda: animated("GIF"),
    "webp": lambda: encoded(noisy(300, 200), "WEBP"),
    "tiff": lambda: encoded(noisy(300, 200), "TIFF"),
    "pale": lambda: encoded(Pillow.new("RGB", (400, 400), "white"), "JPEG"),
}


class TestLooking:
    @pytest.mark.parametrize("kind", KINDS)
    def test_one_decoding_gives_the_record_and_the_look(
        self, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        data = KINDS[kind]()
        (tmp_path / "a").write_bytes(data)
        expected, plain = appearance(data), Roots({"p": tmp_path}).find("p", "a")
        monkeypatch.setattr(images, "appearance", lambda *_, **__: pytest.fail("the picture was decoded again"))
        roots = Roots({"p": tmp_path, "run": tmp_path / "run"})
        with roots.looking():
            found, added = roots.find("p", "a"), roots.add(data)
            assert found == plain and (added.width, added.height) == (plain.width, plain.height)
            assert roots.appearance(found) == expected

    @pytest.mark.parametrize("kind", ["jpeg", "progressive", "png", "webp"])
    def test_a_cut_picture_is_still_noticed(self, tmp_path: Path, kind: str) -> None:
        data = KINDS[kind]()
        (tmp_path / "a").write_bytes(data[: len(data) * 9 // 10])
        roots = Roots({"p": tmp_path})
        with roots.looking(), pytest.raises(ImageError) as caught:
            roots.find("p", "a")
        assert caught.value.reason == "bad_image"

    def test_a_look_that_was_not_kept_is_taken_again(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_bytes(data := KINDS["png"]())
        roots = Roots({"p": tmp_path})
        with roots.looking():
            found = roots.find("p", "a")
        assert roots.appearance(found) == roots.appearance(found) == appearance(data)

    def test_a_picture_without_a_look_is_a_picture(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "a").write_bytes(KINDS["png"]())
        roots = Roots({"p": tmp_path})
        monkeypatch.setattr("vlfeedback._images_pixels._difference_hash", lambda _: 1 / 0)
        with roots.looking():
            assert roots.find("p", "a").width == 300

    def test_files_larger_than_one_reading_have_the_same_record(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_bytes(KINDS["jpeg"]() + b"\0" * (5 << 20))  # viewers and decoders pass over what follows
        (tmp_path / "b").write_bytes((tmp_path / "a").read_bytes())
        roots = Roots({"p": tmp_path}, max_bytes=6 << 20)
        found = roots.find("p", "a")
        assert found.sha256 == roots.find("p", "b").sha256 and roots.open(found) == (tmp_path / "a").read_bytes()
        with pytest.raises(ImageError) as caught:
            Roots({"p": tmp_path}, max_bytes=5 << 20).find("p", "a")
        assert caught.value.reason == "image_too_large"

    def test_equal_bytes_are_stored_and_decoded_once(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        roots = Roots({"run": tmp_path})
        first = roots.add(KINDS["png"]())
        monkeypatch.setattr(images, "look", lambda *_, **__: pytest.fail("the picture was decoded again"))
        assert roots.add(Path(roots.path(first.uri)).read_bytes()) == first


class Slow(Roots):
    """Pictures come in any order, and some are broken."""

    def __init__(self, mapping: dict[str, Path]) -> None:
        super().__init__(mapping)
        self.opened = Counter[str]()
        self.together = self.most = 0

    def find(self, root: str, relative: str) -> Image:
        self.opened[relative] += 1
        self.together += 1
        self.most = max(self.most, self.together)
        time.sleep(random.random() / 300)
        self.together -= 1
        if relative.startswith("bad"):
            raise ImageError("bad_image", relative)
        return Image(f"{int(relative):064x}", f"p:{relative}", 1, 1)


def picked(items: list[Found | Dropped], roots: Roots) -> list[Instruction | Dropped]:
    return list(instructions([Source("s", lambda: iter(items), "p")], roots))


class TestOrder:
    def test_records_come_in_their_order_and_the_first_of_equal_ones_stays(self, tmp_path: Path) -> None:
        rng = random.Random(5)
        items: list[Found | Dropped] = []
        for number in range(700):
            names = [Named(str(rng.randrange(40)) if rng.random() < 0.8 else f"bad{number}") for _ in range(2)]
            items.append(
                Found(str(number), f"Prompt {rng.randrange(20)}", tuple(names))
                if number % 50
                else Dropped("source", str(number), "bad_record")
            )
        out = picked(items, Slow({"p": tmp_path}))
        seen: dict[tuple[str, tuple[Named, ...]], str] = {}
        for item, result in zip(items, out, strict=True):
            if isinstance(item, Dropped):
                assert isinstance(result, Dropped) and result.record_id == f"s/{item.record_id}"
                continue
            pictures = tuple(one for one in item.images if isinstance(one, Named))
            broken = [one.path for one in pictures if one.path.startswith("bad")]
            first = seen.setdefault((item.prompt, pictures), item.record_id)
            if broken:
                assert isinstance(result, Dropped) and result.detail == broken[0]
            elif first != item.record_id:
                assert isinstance(result, Dropped) and result.reason == "duplicate" and result.detail.endswith(first)
            else:
                assert isinstance(result, Instruction) and result.prompt == item.prompt
                assert [one.uri for one in result.images] == [f"p:{one.path}" for one in pictures]

    def test_a_picture_of_many_records_is_opened_once_and_several_at_a_time(self, tmp_path: Path) -> None:
        roots = Slow({"p": tmp_path})
        picked([Found(str(n), f"Prompt {n}", (Named(str(n % 30)),)) for n in range(200)], roots)
        assert roots.opened == dict.fromkeys(map(str, range(30)), 1)
        assert 2 <= roots.most <= opening.THREADS

    def test_a_record_that_is_dropped_for_its_text_opens_no_picture(self, tmp_path: Path) -> None:
        roots = Slow({"p": tmp_path})
        picked([Found("a", " ", (Named("1"),)), Found("b", "Why?", (Named("2"),))], roots)
        assert set(roots.opened) == {"2"}

    def test_what_the_reader_raises_comes_after_what_it_gave(self, tmp_path: Path) -> None:
        def reader() -> Iterator[Found]:
            yield Found("a", "One?", (Named("1"),))
            yield Found("b", "Two?")
            raise DataError("line 3 is cut off")

        stream = instructions([Source("s", reader, "p")], Slow({"p": tmp_path}))
        assert [type(next(stream)) for _ in range(2)] == [Instruction, Instruction]
        with pytest.raises(DataError, match="line 3"):
            next(stream)

    def test_a_root_that_is_not_there_stops_the_room_at_its_first_record(self, tmp_path: Path) -> None:
        items: list[Found | Dropped] = [Found("a", "One?"), Found("b", "Two?", (Named("1"),))]
        stream = instructions([Source("s", lambda: iter(items), "p")], Roots({"p": tmp_path / "gone"}))
        assert isinstance(next(stream), Instruction)
        with pytest.raises(DataError, match="no such folder"):
            next(stream)

    def test_chunks_are_bounded_in_bytes(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        data = [encoded(Pillow.new("RGB", (8, 8), (n, 0, 0)), "BMP") for n in range(20)]
        monkeypatch.setattr(opening, "BYTES", 3 * len(data[0]))
        read = 0

        def reader() -> Iterator[Found]:
            nonlocal read
            for number, one in enumerate(data):
                read += 1
                yield Found(str(number), "What?", (Embedded(one),))

        stream = instructions([Source("s", reader)], Roots({"run": tmp_path}))
        next(stream)
        assert read == 3 and sum(1 for _ in stream) == 19

    def test_ctrl_c_ends_a_long_reading(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        asked = threading.Event()
        monkeypatch.setattr(flow, "_interrupted", asked)

        def reader() -> Iterator[Found]:
            for number in range(100_000):
                if number == 1000:
                    asked.set()
                yield Found(str(number), f"{number}?", (Named("1"),))

        read = 0
        with pytest.raises(KeyboardInterrupt):
            for _ in instructions([Source("s", reader, "p")], Slow({"p": tmp_path})):
                read += 1
        assert read < 1000 + 2 * opening.RECORDS


class TestRoom:
    def test_large_pictures_wait_for_each_other_and_small_ones_do_not(self) -> None:
        room, entered = Room(10), threading.Event()

        def decode(pixels: int) -> None:
            with room.take(pixels):
                entered.set()

        for pixels, waits in ((6, True), (4, False), (100, True)):
            entered.clear()
            with room.take(6):
                worker = threading.Thread(target=decode, args=(pixels,))
                worker.start()
                assert entered.wait(0.1 if waits else 60) is not waits
            worker.join()
            assert entered.is_set()  # what is larger than the whole room had it alone

    def test_a_picture_that_breaks_gives_its_room_back(self) -> None:
        room = Room(10)
        for _ in range(3):
            with pytest.raises(OSError, match="broken"), room.take(10):
                raise OSError("broken")
