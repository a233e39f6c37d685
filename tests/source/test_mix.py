"""Sources are put together without reshuffling each other; what looks alike stays on one side; leaks are found."""

from __future__ import annotations

import io
import random
import tracemalloc
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st
from PIL import Image as Pillow, ImageDraw

from vlfeedback.errors import ConfigError, DataError
from vlfeedback.images import Appearance, Roots, appearance
from vlfeedback.records import Dropped, Image, Instruction
from vlfeedback.source import Embedded, Found, Reading, Source, instructions, readings
from vlfeedback.source._drawn import drawn
from vlfeedback.source._leaks import Known, Leaks, plain
from vlfeedback.source._mix import quotas, sided
from vlfeedback.source._near import Fines, Looks, _Arrays, _candidates  # pyright: ignore[reportPrivateUsage]


def photo(seed: int, size: int = 200) -> Pillow.Image:
    """A picture of soft blobs, different for every seed."""
    rng = random.Random(seed)
    small = Pillow.new("RGB", (7, 6))
    small.putdata([tuple(rng.randrange(256) for _ in range(3)) for _ in range(42)])  # type: ignore[arg-type]
    return small.resize((size, size * 3 // 4), Pillow.Resampling.BICUBIC)


def saved(picture: Pillow.Image, format: str = "PNG", **options: object) -> bytes:
    target = io.BytesIO()
    picture.save(target, format, **options)
    return target.getvalue()


def page(words: str, size: int = 28) -> bytes:
    """Black words on white, as typographic datasets have them."""
    picture = Pillow.new("RGB", (300, 300), "white")
    ImageDraw.Draw(picture).text((10, 20), words, fill="black", font_size=size)
    return saved(picture)


@pytest.fixture
def roots(tmp_path: Path) -> Roots:
    return Roots({"run": tmp_path / "run"})


def source(asked: list[tuple[str, bytes]], sample: int | None = None, name: str = "s") -> Source:
    items = [
        Found(str(number), prompt, (Embedded(data),) if data else ()) for number, (prompt, data) in enumerate(asked)
    ]
    return Source(name, lambda: iter(items), sample=sample)


def stream(roots: Roots, *sources: Source) -> list[Reading]:
    return readings(sources, roots)


COPIES: dict[str, Callable[[Pillow.Image], bytes]] = {
    "half": lambda one: saved(one.resize((one.width // 2, one.height // 2)), "JPEG", quality=85),
    "poor": lambda one: saved(one, "JPEG", quality=30),
    "webp": lambda one: saved(one, "WEBP", quality=60),
    "crop": lambda one: saved(one.crop((2, 1, one.width - 2, one.height - 1))),
}


class TestNear:
    @pytest.mark.parametrize("kind", COPIES)
    def test_copies_are_found_and_others_are_not(self, roots: Roots, kind: str) -> None:
        looks = Looks(roots)
        originals = [roots.add(saved(photo(seed))) for seed in range(12)]
        copies = [roots.add(COPIES[kind](photo(seed))) for seed in range(0, 12, 2)]
        for image in (*originals, *copies):
            looks.add(image)
        expected: dict[str, str] = {}
        for one, two in zip(originals[::2], copies, strict=True):
            expected |= dict.fromkeys((one.sha256, two.sha256), min(one.sha256, two.sha256))
        assert looks.clusters() == expected

    def test_pages_of_one_layout_and_flat_pictures_are_different_pictures(self, roots: Roots) -> None:
        looks = Looks(roots)
        flats = [saved(Pillow.new("RGB", (40, 40), colour)) for colour in ("white", "black", "navy", "maroon")]
        words = ("1. Write a will", "1. Buy a farm", "Stop here now")
        for data in (*map(page, words), *(page(word, 14) for word in words), *flats):
            looks.add(roots.add(data))
        assert looks.clusters() == {}

    def test_copies_of_pages_are_found(self, roots: Roots) -> None:
        looks = Looks(roots)
        for word in ("1. Write a will", "Stop here now"):
            whole = Pillow.open(io.BytesIO(page(word)))
            for data in (saved(whole), saved(whole, "JPEG", quality=60), saved(whole.resize((200, 200)))):
                looks.add(roots.add(data))
        assert len(looks.clusters()) == 6 and len(set(looks.clusters().values())) == 2

    def test_pages_take_little_memory(self, roots: Roots) -> None:
        looks = Looks(roots)
        pages = [Image(f"{number:064x}", "run:x", 1, 1) for number in range(400)]
        for number, one in enumerate(pages):
            roots._seen[one.sha256] = Appearance(number, bytes(432), bytes([number % 256]) * 4096)
        tracemalloc.start()
        for one in pages:
            looks.add(one)
        taken = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        assert taken < 400 * 1500  # 4 kB of a finer thumbnail each would be 1.6 MB, as numbers twice that
        fine = looks.look_of(300).fine
        assert fine is not None and set(fine) == {300 % 256} and len(fine) == 4096

    def test_a_full_folder_for_temporary_files_is_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(*_: object) -> int:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("vlfeedback.source._near.os.pwrite", full)
        with pytest.raises(DataError, match=r"No space left.*TMPDIR"):
            Fines().add(0, bytes(4096))

    @given(st.lists(st.integers(0, 2**64 - 1), min_size=2, max_size=12), st.data())
    @settings(max_examples=60)
    def test_every_pair_of_at_most_seven_bits_is_a_candidate(self, prints: list[int], data: st.DataObject) -> None:
        import numpy as np

        for number in range(len(prints)):
            flipped = prints[number]
            for bit in data.draw(st.sets(st.integers(0, 63), max_size=7)):
                flipped ^= 1 << bit
            prints.append(flipped)
        array = np.array(prints, dtype=np.uint64)
        found = {
            frozenset((int(a), int(b)))
            for one, two in _candidates(np.arange(len(prints)), array)
            for a, b in zip(one, two, strict=True)
        }
        wanted = {
            frozenset((a, b)) for a in range(len(prints)) for b in range(a) if (prints[a] ^ prints[b]).bit_count() <= 7
        }
        assert found == wanted

    def test_pictures_that_cannot_be_opened_have_no_look(self, roots: Roots) -> None:
        looks = Looks(roots)
        assert looks.add(Image("uri:" + "0" * 32, "run:x.png", 0, 0)) is None
        assert looks.add(Image("0" * 64, "run:gone.png", 1, 1)) is None
        assert looks.clusters() == {} and isinstance(looks._arrays(), _Arrays)

    def test_a_jpeg_looks_the_same_whether_it_is_read_small_or_whole(self) -> None:
        big = photo(3, 1600)
        small, whole = appearance(saved(big, "JPEG", quality=90)), appearance(saved(big))
        assert (small.fingerprint ^ whole.fingerprint).bit_count() <= 3


class TestSplit:
    def test_copies_take_the_side_of_their_smallest_hash(self, roots: Roots, tmp_path: Path) -> None:
        asked: list[tuple[str, bytes]] = []
        for seed in range(30):
            asked += [(f"{seed}?", saved(photo(seed))), (f"{seed} again?", COPIES["half"](photo(seed)))]
        told: list[str] = []
        out = list(sided(stream(roots, source(asked)), Looks(roots), tmp_path / "x", eval_share=0.5, tell=told.append))
        kept = [one for one in out if isinstance(one, Instruction)]
        assert len(kept) == 60
        for one, two in zip(kept[::2], kept[1::2], strict=True):
            assert one.split == two.split
            smallest = min(one.images[0].sha256, two.images[0].sha256)
            assert one.split == ("eval" if smallest < "8" else "train")
        assert {one.split for one in kept} == {"train", "eval"}
        assert "60 pictures look like others (30 groups" in told[0]
        assert not (tmp_path / "x").exists()

    def test_clusters_on_different_sides_are_a_conflict(self, roots: Roots, tmp_path: Path) -> None:
        data = sorted((saved(photo(seed)) for seed in range(20)), key=lambda one: roots.add(one).sha256)
        items = [Found("a", "Both?", (Embedded(data[0]), Embedded(data[-1]))), Found("b", "One?", (Embedded(data[0]),))]
        read = stream(roots, Source("s", lambda: iter(items)))
        out = list(sided(read, Looks(roots), tmp_path / "x", eval_share=0.5))
        assert [one.reason if isinstance(one, Dropped) else one.split for one in out] == ["split_conflict", "eval"]

    def test_what_asks_the_same_of_a_copy_is_dropped_where_wanted(self, roots: Roots, tmp_path: Path) -> None:
        asked = [
            ("Who is it?", saved(photo(1))),
            ("  who is  it", COPIES["half"](photo(1))),
            ("Where?", saved(photo(1))),
        ]
        asked += [("Tell a joke.", b""), ("TELL A JOKE", b"")]
        for near, expected in (("split", 5), ("drop", 3)):
            read = stream(roots, source(asked))
            out = list(sided(read, Looks(roots), tmp_path / "x", eval_share=0.5, near=near))  # type: ignore[arg-type]
            assert len(out) == 5
            kept = [one for one in out if isinstance(one, Instruction)]
            assert len(kept) == expected
            assert {one.reason for one in out if isinstance(one, Dropped)} == (
                {"duplicate"} if near == "drop" else set()
            )
            assert len({one.split for one in kept if not one.images}) == 1

    def test_another_order_in_the_same_photo_asks_something_else(self, roots: Roots, tmp_path: Path) -> None:
        photos = [drawn(saved(photo(1, 800)), f"Only say {word}.", top=True) for word in ("cat", "cow")]
        assert len(set(seen(roots, photos).values())) == 1
        for category, kept in (("red_team/typographic", 2), ("", 1)):
            items = [Found(str(n), "What is it?", (Embedded(data),), category) for n, data in enumerate(photos)]
            read = stream(roots, Source("s", lambda items=items: iter(items)))
            out = list(sided(read, Looks(roots), tmp_path / "x", eval_share=0.5, near="drop"))
            assert sum(isinstance(one, Instruction) for one in out) == kept


def seen(roots: Roots, photos: list[bytes]) -> dict[str, str]:
    """Clusters of pictures that look alike."""
    looks = Looks(roots)
    for data in photos:
        looks.add(roots.add(data))
    return looks.clusters()


class TestRefill:
    def test_what_looks_the_same_is_replaced_and_the_counts_are_those_of_the_tables(
        self, roots: Roots, tmp_path: Path
    ) -> None:
        asked = [(words, saved(photo(seed))) for seed in range(12) for words in ("Describe it!", "Describe it.")]
        asked += [("Tell more.", saved(photo(seed))) for seed in range(20)]
        told: list[str] = []
        read = stream(roots, source(asked, sample=20))
        out = list(sided(read, Looks(roots), tmp_path / "x", eval_share=0.0, near="drop", tell=told.append))
        kept = [one for one in out if isinstance(one, Instruction)]
        reasons = Counter(one.reason for one in out if isinstance(one, Dropped))
        assert len(kept) == len({(one.images, one.prompt[:8]) for one in kept}) == 20
        assert len(out) == 44 and reasons["duplicate"]
        said = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
        assert told[0] == f"source s: 44 read = 20 kept + 24 dropped ({said})"
        assert not list(tmp_path.glob("x*"))

    def test_a_source_that_has_no_other_ones_is_told(self, roots: Roots, tmp_path: Path) -> None:
        asked = [(f"Describe it{sign}", saved(photo(1))) for sign in ("", ".", "!", "?", "!!", "??", "…")]
        told: list[str] = []
        read = stream(roots, source(asked, sample=2), source([("Else?", b"")], 1, "other"))
        out = list(sided(read, Looks(roots), tmp_path / "x", eval_share=0.0, near="drop", tell=told.append))
        assert Counter(one.source for one in out if isinstance(one, Instruction)) == {"s": 1, "other": 1}
        assert told[0] == "source s: 1 usable records of the 2 that were asked for"

    def test_a_conflict_is_replaced_and_what_is_too_much_goes_back(self, roots: Roots, tmp_path: Path) -> None:
        data = sorted((saved(photo(seed)) for seed in range(20)), key=lambda one: roots.add(one).sha256)
        both = (Embedded(data[0]), Embedded(data[-1]))
        items = [Found(f"two {n}", f"Both {n}?", both) for n in range(30)]
        items += [Found(f"one {n}", f"One {n}?", both[:1]) for n in range(30)]
        for wanted in range(1, 31):
            read = stream(roots, Source("s", lambda: iter(items), sample=wanted))
            out = list(sided(read, Looks(roots), tmp_path / "x", eval_share=0.5))
            kept = [one for one in out if isinstance(one, Instruction)]
            assert len(kept) == wanted and all(len(one.images) == 1 for one in kept)
            assert len(out) == 60 and len({one.id for one in kept}) == wanted

    def test_another_source_keeps_its_own(self, roots: Roots, tmp_path: Path) -> None:
        alike = source([(f"Describe it{'.' * n}", saved(photo(1))) for n in range(9)], 3, "alike")
        other = source([(f"{n}?", saved(photo(n))) for n in range(9)], 4, "other")
        kept = [
            {one.id for one in sided(stream(roots, *mixed), Looks(roots), tmp_path / "x", eval_share=0.0, near="drop")
             if isinstance(one, Instruction) and one.source == "other"}
            for mixed in ([other], [alike, other], [other, alike])
        ]  # fmt: skip
        assert len(kept[0]) == 4 and kept[0] == kept[1] == kept[2]


class TestQuotas:
    def test_weights_share_what_counts_leave(self) -> None:
        assert quotas([10, None, None], [None, 3.0, 1.0], 50, "abc") == [10, 30, 10]
        assert quotas([None] * 3, [1.0, 1.0, 1.0], 10, ["a", "b", "c"]) == [4, 3, 3]
        assert quotas([5, None], [None, None], None, "ab") == [5, None]

    @given(st.lists(st.floats(1, 10), min_size=1, max_size=8), st.integers(100, 5000))
    def test_they_sum_to_the_total_and_lie_within_one_of_their_part(self, weights: list[float], total: int) -> None:
        found = quotas([None] * len(weights), weights, total, list(map(str, range(len(weights)))))
        assert sum(count or 0 for count in found) == total
        for count, weight in zip(found, weights, strict=True):
            assert count is not None and abs(count - total * weight / sum(weights)) < 1

    @pytest.mark.parametrize(
        ("samples", "weights", "total", "message"),
        [
            ([5, None], [1.0, None], None, "a sample and a weight"),
            ([None, None], [1.0, None], None, "no total"),
            ([None, 5], [None, None], 9, "neither `sample` nor `weight`"),
            ([5, 6], [None, None], 9, "samples sum to 11"),
            ([5, 6], [None, None], 12, "samples sum to 11"),
            ([None, None], [1000.0, 0.001], 10, "gets none"),
        ],
    )
    def test_what_does_not_add_up_is_refused(
        self, samples: list[int | None], weights: list[float | None], total: int | None, message: str
    ) -> None:
        with pytest.raises(ConfigError, match=message):
            quotas(samples, weights, total, ["a", "b"])

    def test_another_source_gives_the_others_no_new_instruction(self, roots: Roots) -> None:
        def read(names: list[str]) -> dict[str, set[str]]:
            counts = quotas([None] * len(names), [1.0] * len(names), 60, names)
            made = [
                Source(name, lambda name=name: iter([Found(str(n), f"{name} {n}") for n in range(100)]), sample=count)
                for name, count in zip(names, counts, strict=True)
            ]
            kept: dict[str, set[str]] = {}
            for one in instructions(made, roots):
                if isinstance(one, Instruction):
                    kept.setdefault(one.source, set()).add(one.id)
            return kept

        before, after = read(["a", "b"]), read(["c", "a", "b"])
        assert all(after[name] < before[name] for name in ("a", "b"))
        assert [len(one) for one in after.values()] == [20, 20, 20]


class TestLeaks:
    def test_pictures_and_whole_questions_are_found(self, roots: Roots) -> None:
        shown, other = roots.add(saved(photo(1))), roots.add(saved(photo(2)))
        copy = roots.add(COPIES["poor"](photo(1)))
        leaks = Leaks([Known("mme (1)", "Is it a dog?", (shown,)), Known("quiz (2)", "Why?", ())], Looks(roots))
        assert leaks.found("Anything", (shown,)) == "its picture is one of mme (1)"
        assert leaks.found("Anything", (copy,)) == "its picture looks like one of mme (1)"
        assert leaks.found("Anything", (other, copy)) is not None
        assert leaks.found("is it a  DOG", ()) == "its question is that of mme (1)"
        assert leaks.found("Why", (other,)) == "its question is that of quiz (2)"
        assert leaks.asked_elsewhere == 0
        assert leaks.found("Is it a dog?", (other,)) is None and leaks.asked_elsewhere == 1
        assert leaks.found("Something else", (other,)) is None

    def test_a_leak_is_replaced_in_a_sample(self, roots: Roots) -> None:
        found = [Found(str(number), f"Question {number}") for number in range(20)]
        leaks = Leaks([Known(f"exam ({n})", f"question {n}", ()) for n in range(10)], Looks(roots))
        out = list(instructions([Source("s", lambda: iter(found), sample=8)], roots, leak=leaks.found))
        kept = [one for one in out if isinstance(one, Instruction)]
        assert len(kept) == 8 and all(int(one.prompt.split()[1]) >= 10 for one in kept)
        assert all("exam" in one.detail for one in out if isinstance(one, Dropped) and one.reason == "held_out")

    def test_a_short_source_is_told(self, roots: Roots) -> None:
        told: list[str] = []
        source = Source("s", lambda: iter([Found("1", "One?")]), sample=5)
        list(instructions([source], roots, tell=told.append))
        assert told == ["source s: 1 usable records of the 5 that were asked for"]

    def test_what_a_source_drops_is_told_by_reason(self, roots: Roots) -> None:
        told: list[str] = []
        found = [Found("1", "One?"), Found("2", "One?"), Found("3", " "), Found("4", "")]
        list(instructions([Source("s", lambda: iter(found))], roots, tell=told.append))
        assert told == ["source s: 4 read = 1 kept + 3 dropped (2 empty_prompt, 1 duplicate)"]

    @pytest.mark.parametrize(("one", "two"), [("What is it?", "  what  is IT"), ("１２", "12"), ("(Why?)", "why")])
    def test_plain_questions(self, one: str, two: str) -> None:
        assert plain(one) == plain(two) != ""

    def test_signs_alone_stay(self) -> None:
        assert plain("?!") != plain("??") and plain("c++") != ""
