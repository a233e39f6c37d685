"""The stage opens, checks, samples and counts what readers find; every record leaves it exactly once."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, strategies as st
from picture_files import animated, encoded, gradient, png_header, rotated_jpeg
from PIL import Image as Pillow

from vlfeedback import tables
from vlfeedback.errors import ConfigError, DataError
from vlfeedback.ids import instruction_id
from vlfeedback.images import Roots, side
from vlfeedback.records import Dropped, Image, Instruction
from vlfeedback.source import Embedded, Found, Named, Source, instructions, jsonl

NOWHERE = Roots({})


def source(items: Sequence[Found | Dropped], name: str = "mine", root: str = "", sample: int | None = None) -> Source:
    return Source(name, lambda: iter(items), root, sample, f"{name}.json")


def asked(*prompts: str) -> list[Found | Dropped]:
    return [Found(str(number), prompt) for number, prompt in enumerate(prompts)]


def sorted_out(
    *sources: Source, roots: Roots = NOWHERE, eval_share: float = 0.0
) -> tuple[list[Instruction], list[Dropped]]:
    stream = list(instructions(sources, roots, eval_share=eval_share))
    kept = [item for item in stream if isinstance(item, Instruction)]
    return kept, [item for item in stream if isinstance(item, Dropped)]


@pytest.fixture
def roots(tmp_path: Path) -> Roots:
    """A root `pics` with one file of every kind."""
    pics = tmp_path / "pics"
    pics.mkdir()
    jpeg = encoded(gradient(), "JPEG")
    files = {
        "good.jpg": jpeg,
        "copy.jpg": jpeg,
        "other.png": encoded(Pillow.new("RGB", (9, 7), (1, 2, 3)), "PNG"),
        "empty.jpg": b"",
        "text.jpg": b"<html>not found</html>",
        "cut.jpg": jpeg[: len(jpeg) // 2],
        "bomb.png": png_header(20_000, 20_000),
        "turned.jpg": rotated_jpeg(6),
        "cmyk.jpg": encoded(gradient(mode="CMYK"), "JPEG"),
        "moving.gif": animated("GIF"),
    }
    for name, data in files.items():
        (pics / name).write_bytes(data)
    (tmp_path / "secret.jpg").write_bytes(jpeg)
    (pics / "link.jpg").symlink_to(tmp_path / "secret.jpg")
    return Roots({"pics": pics, "run": tmp_path / "run"})


@pytest.mark.parametrize(
    ("picture", "reason"),
    [
        ("no.jpg", "missing_image"),
        ("empty.jpg", "bad_image"),
        ("text.jpg", "bad_image"),
        ("cut.jpg", "bad_image"),
        ("bomb.png", "image_too_large"),
        ("../secret.jpg", "refused_path"),
        ("link.jpg", "refused_path"),
        ("/etc/hostname", "refused_path"),
        ("http://host/a.jpg", "refused_uri"),
        ("file:///etc/hostname", "refused_uri"),
        ("data:image/png;base64,AAAA", "refused_uri"),
    ],
)
def test_a_picture_that_cannot_be_used_drops_its_record_and_no_other(roots: Roots, picture: str, reason: str) -> None:
    items = [Found("a", "One?", (Named(picture),)), Found("b", "Two?", (Named("good.jpg"),))]
    kept, dropped = sorted_out(source(items, root="pics"), roots=roots)
    assert [item.prompt for item in kept] == ["Two?"]
    assert [(item.room, item.record_id, item.reason) for item in dropped] == [("source", "mine/a", reason)]
    assert dropped[0].detail


@pytest.mark.parametrize(
    ("picture", "size"), [("turned.jpg", (32, 48)), ("cmyk.jpg", (48, 32)), ("moving.gif", (48, 32))]
)
def test_awkward_pictures_are_taken(roots: Roots, picture: str, size: tuple[int, int]) -> None:
    kept, _ = sorted_out(source([Found("a", "One?", (Named(picture),))], root="pics"), roots=roots)
    assert (kept[0].images[0].width, kept[0].images[0].height) == size


def test_an_instruction_carries_what_was_found(roots: Roots) -> None:
    found = Found("a", "  What is <image>?\n", (Named("good.jpg"),), "odd", "caution", "Nothing.")
    (kept,), _ = sorted_out(source([found], root="pics"), roots=roots)
    image = roots.find("pics", "good.jpg")
    assert kept == Instruction(
        instruction_id("What is <image>?", (image,)), "What is <image>?", (image,), "mine", "odd", "caution", "train",
        "Nothing.",
    )  # fmt: skip


@pytest.mark.parametrize("prompt", ["", "  \n\t", "\u200b", "\ufeff \u2060"])
def test_a_prompt_without_a_letter_is_empty(prompt: str) -> None:
    kept, dropped = sorted_out(source(asked(prompt, "Why?")))
    assert [item.prompt for item in kept] == ["Why?"]
    assert [item.reason for item in dropped] == ["empty_prompt"]


def test_half_a_surrogate_pair_is_dropped_and_the_books_can_still_be_written(tmp_path: Path) -> None:
    items = [Found("a\udc80", "Half \ud83d"), Found("b", "x", reference="\udc80"), Found("c", "Whole \U0001f600")]
    items.append(Found("d", "y", (Named("\udcff.jpg"),)))
    kept, dropped = sorted_out(source(items, root="pics"), roots=Roots({"pics": tmp_path}))
    assert [item.reason for item in dropped] == ["bad_record", "bad_record", "refused_path"]
    tables.write(tmp_path / "kept.parquet", Instruction, kept, room="source")
    tables.write(tmp_path / "dropped.parquet", Dropped, dropped, room="source")
    assert list(tables.read(tmp_path / "dropped.parquet", Dropped)) == dropped


def test_what_a_stranger_wrote_does_not_steer_the_terminal(roots: Roots) -> None:
    gone = Dropped("source", "1", "bad_record", "it has \x1b[31mred " + "x" * 9999)
    with pytest.raises(DataError) as told:
        list(instructions([Source("s", lambda: iter([gone]))], roots))
    assert str(told.value).isprintable() and len(str(told.value)) < 1200


def test_duplicates_are_found_across_sources_and_files_and_name_the_first(roots: Roots) -> None:
    first = source([Found("1", "Who?", (Named("good.jpg"),))], "one", "pics")
    second = source(
        [Found("2", " Who? ", (Named("copy.jpg"),)), Found("3", "Who?", (Named("other.png"),))], "two", "pics"
    )
    kept, dropped = sorted_out(first, second, roots=roots)
    assert [item.source for item in kept] == ["one", "two"]
    assert dropped[0].record_id == "two/2" and dropped[0].reason == "duplicate" and "one/1" in dropped[0].detail


def test_what_is_dropped_says_of_which_file_of_a_dataset() -> None:
    def broken(where: str, name: str = "mine") -> Source:
        return Source(name, lambda: iter([*asked(where), Dropped("source", "line 3", "bad_record")]), where=where)

    told: list[str] = []
    files = [broken("a/d1.jsonl"), broken("a/d2.jsonl"), broken("x/d.jsonl", "two"), broken("y/d.jsonl", "two")]
    out = list(instructions([*files, broken("z.jsonl", "alone")], NOWHERE, tell=told.append))
    assert [one.record_id for one in out if isinstance(one, Dropped)] == [
        "mine/d1.jsonl/line 3", "mine/d2.jsonl/line 3", "two/x/d.jsonl/line 3", "two/y/d.jsonl/line 3", "alone/line 3",
    ]  # fmt: skip
    assert [one.source for one in out if isinstance(one, Instruction)] == ["mine", "mine", "two", "two", "alone"]
    assert told[0].startswith("source mine/d1.jsonl: 2 read")


def test_pictures_inside_a_dataset_are_kept_in_the_run_folder_if_their_record_is(roots: Roots, tmp_path: Path) -> None:
    data = encoded(gradient(), "PNG")
    items = [Found("a", "One?", (Embedded(data),)), Found("b", "Two?", (Embedded(b"noise"),))]
    kept, dropped = sorted_out(source(items), roots=roots)
    assert kept[0].images[0].uri.startswith("run:") and roots.open(kept[0].images[0]) == data
    assert [item.reason for item in dropped] == ["bad_image"]
    assert len([file for file in (tmp_path / "run").rglob("*") if file.is_file()]) == 1


def test_other_paths_are_tried_while_no_file_is_there(roots: Roots) -> None:
    items = [
        Found("a", "One?", (Named("VG_100K/good.jpg", or_else=("good.jpg",)),)),
        Found("b", "Two?", (Named("x.jpg", or_else=("y.jpg",)),)),
        Found("c", "Three?", (Named("text.jpg", or_else=("good.jpg",)),)),
    ]
    kept, dropped = sorted_out(source(items, root="pics"), roots=roots)
    assert [item.images[0].uri for item in kept] == ["pics:good.jpg"]
    assert [item.reason for item in dropped] == ["missing_image", "bad_image"]
    assert "x.jpg" in dropped[0].detail and "y.jpg" in dropped[0].detail


def test_pictures_on_different_sides_are_a_conflict(roots: Roots) -> None:
    low, high = Image("00" * 32, "run:l", 1, 1), Image("ff" * 32, "run:h", 1, 1)
    items = [Found("a", "One?", (low, high)), Found("b", "Two?", (low, low)), Found("c", "Three?", (high,))]
    kept, dropped = sorted_out(source(items), eval_share=0.5)
    assert [(item.prompt, item.split) for item in kept] == [("Two?", "eval"), ("Three?", "train")]
    assert [(item.record_id, item.reason) for item in dropped] == [("mine/a", "split_conflict")]


class TestSettings:
    @pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
    def test_a_share_lies_between_0_and_1(self, share: float) -> None:
        with pytest.raises(ConfigError, match="eval_share"):
            sorted_out(source(asked("Why?")), eval_share=share)

    def test_a_sample_has_at_least_one(self) -> None:
        with pytest.raises(ConfigError, match="sample = 0"):
            sorted_out(source(asked("Why?"), sample=0))

    def test_named_pictures_need_a_root(self) -> None:
        with pytest.raises(ConfigError, match=r"images = \"NAME\""):
            sorted_out(source([Found("a", "Why?", (Named("a.jpg"),))]))
        with pytest.raises(ConfigError, match="no image root is called 'pics'"):
            sorted_out(source([Found("a", "Why?", (Named("a.jpg"),))], root="pics"))

    def test_an_empty_source_names_its_file(self) -> None:
        with pytest.raises(DataError, match=r"mine\.json.*no records"):
            sorted_out(source([]))

    def test_a_source_of_which_nothing_is_left_says_why(self) -> None:
        with pytest.raises(DataError, match=r"mine\.json.*none of its 3 records.*2 empty_prompt, 1 bad_record.*broken"):
            sorted_out(source([*asked("", " "), Dropped("source", "x", "bad_record", "broken")]))


class TestSampling:
    def test_the_sample_is_full_although_some_records_are_unusable(self) -> None:
        items = asked(*(f"Prompt {number}" if number % 3 else " " * number for number in range(90)))
        kept, dropped = sorted_out(source(items, sample=40))
        assert len(kept) == 40 and len(kept) + len(dropped) == 90
        kept, dropped = sorted_out(source(items, sample=1000))
        assert len(kept) == 60 and len(dropped) == 30

    def test_order_growth_and_other_sources_do_not_reshuffle(self) -> None:
        items = asked(*(f"Prompt {number}" for number in range(60)))
        small = {item.id for item in sorted_out(source(items, sample=10))[0]}
        large = {item.id for item in sorted_out(source(items, sample=25))[0]}
        shuffled = random.Random(3).sample(items, 60)
        other = source(asked(*(f"Other {number}" for number in range(30))), "other", sample=10)
        assert small < large
        assert {item.id for item in sorted_out(source(shuffled, sample=10))[0]} == small
        assert {item.id for item in sorted_out(other, source(items, sample=10))[0] if item.source == "mine"} == small
        assert small != {item.id for item in sorted_out(source(items[:10]))[0]}

    def test_only_the_pictures_of_the_sample_are_opened(self, roots: Roots) -> None:
        opened: list[str] = []

        class Watched(Roots):
            def find(self, root: str, relative: str) -> Image:
                opened.append(relative)
                return roots.find(root, "good.jpg")

        items = [Found(str(n), f"Prompt {n}", (Named(f"{n}.jpg"),)) for n in range(50)]
        kept, _ = sorted_out(source(items, root="pics", sample=5), roots=Watched({}))
        assert len(kept) == len(opened) == 5

    def test_a_file_that_changes_between_two_readings_is_noticed(self) -> None:
        readings = iter([asked(*map(str, range(9))), []])
        with pytest.raises(DataError, match="changed"):
            list(instructions([Source("mine", lambda: iter(next(readings)), sample=3)], NOWHERE))


KINDS = st.sampled_from(["new", "same", "blank", "broken", "missing"])


@given(st.lists(KINDS, min_size=1, max_size=30), st.none() | st.integers(1, 12), st.floats(0, 1))
def test_read_equals_instructions_plus_dropped(kinds: list[str], sample: int | None, share: float) -> None:
    items: list[Found | Dropped] = [Found("always", "Always there")]
    for number, kind in enumerate(kinds):
        items.append(
            {
                "new": Found(str(number), f"Prompt {number}"),
                "same": Found(str(number), "The same"),
                "blank": Found(str(number), " "),
                "broken": Dropped("source", str(number), "bad_record", "x"),
                "missing": Found(str(number), "Seen?", (Named("no.jpg"),)),
            }[kind]
        )
    roots = Roots({"pics": Path(__file__).parent})
    kept, dropped = sorted_out(source(items, root="pics", sample=sample), roots=roots, eval_share=share)
    assert len(kept) + len(dropped) == len(items)
    assert len({item.id for item in kept}) == len(kept)
    usable = 1 + sum(kind == "new" for kind in kinds) + ("same" in kinds)
    assert len(kept) == (usable if sample is None else min(sample, usable))
    named = Counter(item.record_id for item in dropped)
    assert max(named.values(), default=1) == 1
    for item in kept:
        assert item.id == instruction_id(item.prompt, item.images)
        assert item.split == side(item.prompt, item.images, share)


def test_the_same_file_gives_the_same_table_again(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text("".join(f'{{"prompt": "Prompt {number % 40}"}}\n' for number in range(60)))
    runs = [sorted_out(Source("mine", jsonl.load(file), sample=20, where=str(file)), eval_share=0.3) for _ in range(2)]
    assert runs[0] == runs[1]
    assert len(runs[0][0]) == 20 and len(runs[0][1]) == 40
