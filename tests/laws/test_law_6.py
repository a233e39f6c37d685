"""Law 6: the split is a property of the picture."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given, strategies as st
from PIL import Image as Pillow

from vlfeedback.images import Roots
from vlfeedback.records import Image, Instruction
from vlfeedback.source import Found, Named, Source, instructions

HASHES = st.integers(0, 2**256 - 1).map(lambda number: f"{number:064x}")


def taken(items: list[Found], roots: Roots, share: float, name: str = "a", root: str = "") -> list[Instruction]:
    stream = instructions([Source(name, lambda: iter(items), root)], roots, eval_share=share)
    return [item for item in stream if isinstance(item, Instruction)]


@given(st.lists(HASHES, min_size=1, max_size=8, unique=True), st.floats(0, 1))
def test_law_6_no_picture_is_on_both_sides(hashes: list[str], share: float) -> None:
    images = [Image(sha256, "run:a.png", 1, 1) for sha256 in hashes]
    items = [Found(f"{n}-{turn}", f"Prompt {turn}", (image,)) for turn in range(3) for n, image in enumerate(images)]
    items += [Found(f"{n}+", "Both?", (image, images[0])) for n, image in enumerate(images)]
    sides: dict[str, set[str]] = {}
    for item in taken(items, Roots({}), share):
        for image in item.images:
            sides.setdefault(image.sha256, set()).add(item.split)
    assert set(sides) == set(hashes)
    assert all(len(found) == 1 for found in sides.values())


@given(st.lists(HASHES, min_size=1, max_size=8, unique=True), st.floats(0, 1), st.floats(0, 1))
def test_law_6_a_larger_share_only_adds_to_the_eval_side(hashes: list[str], one: float, two: float) -> None:
    items = [Found(sha256, "Prompt", (Image(sha256, "run:a.png", 1, 1),)) for sha256 in hashes]
    smaller, larger = (
        {item.id for item in taken(items, Roots({}), share) if item.split == "eval"} for share in sorted((one, two))
    )
    assert smaller <= larger


def test_law_6_file_name_source_and_prompt_do_not_matter(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        for number in range(40):
            name = f"{number}.png" if folder == "one" else f"other{number}.PNG"
            Pillow.new("RGB", (4, 4), (number, 0, 0)).save(tmp_path / folder / name)
    roots = Roots({"one": tmp_path / "one", "two": tmp_path / "two"})
    first = taken([Found("", "A?", (Named(f"{n}.png"),)) for n in range(40)], roots, 0.4, "a", "one")
    second = taken([Found("", "B?", (Named(f"other{n}.PNG"),)) for n in range(40)], roots, 0.4, "b", "two")
    assert [item.split for item in first] == [item.split for item in second]
    assert {item.split for item in first} == {"train", "eval"}


def test_law_6_without_a_picture_the_prompt_decides() -> None:
    items = [Found(str(number), f"Prompt {number}") for number in range(2000)]
    kept = taken(items, Roots({}), 0.1)
    share = sum(item.split == "eval" for item in kept) / len(kept)
    assert 0.07 < share < 0.13
    again = taken(items[::-1], Roots({}), 0.1, "other")
    assert {item.id: item.split for item in again} == {item.id: item.split for item in kept}
