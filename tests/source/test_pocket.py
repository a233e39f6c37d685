"""Pocket instructions are about train-side scenes, repeatable, varied, and carry the truth as reference."""

from __future__ import annotations

import io
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from vlfeedback.errors import ConfigError
from vlfeedback.images import Roots
from vlfeedback.pocket import answers, questions, scenes
from vlfeedback.records import Image as Picture
from vlfeedback.source import Found, pocket


def found(folder: Path, **options: int) -> list[Found]:
    return [item for item in pocket.load(roots=Roots({"run": folder}), **options)() if isinstance(item, Found)]


def test_the_reference_is_right_for_the_picture(tmp_path: Path) -> None:
    roots = Roots({"run": tmp_path})
    for item in pocket.load(roots=roots, scenes=25)():
        assert isinstance(item, Found) and isinstance(item.images[0], Picture)
        scene = scenes.read(Image.open(io.BytesIO(roots.open(item.images[0]))))
        assert scenes.side(scene) == "train"
        truth = questions.truth(item.prompt, scene)
        assert truth is not None and truth.conduct == item.conduct
        assert item.reference == answers.reference(truth, scene)


def test_reading_again_gives_the_same_and_another_seed_something_else(tmp_path: Path) -> None:
    one = found(tmp_path, scenes=10)
    assert one == found(tmp_path, scenes=10)
    assert {item.images for item in one}.isdisjoint(item.images for item in found(tmp_path, scenes=10, seed=1))


def test_all_kinds_and_conducts_occur(tmp_path: Path) -> None:
    items = found(tmp_path, scenes=80)
    assert {item.conduct for item in items} == {"answer", "caution", "refuse"}
    assert {item.category for item in items} >= {*questions.FAMILIES, "describe", "red_team"}
    yes_no = Counter(item.reference for item in items if item.prompt.endswith("yes or no."))
    assert yes_no["Yes."] == yes_no["No."] == 80


def test_nothing_is_asked_twice_about_one_picture(tmp_path: Path) -> None:
    items = found(tmp_path, scenes=80)
    assert len({(item.prompt, item.images) for item in items}) == len(items)


@pytest.mark.parametrize("options", [{"scenes": 0}, {"yes_no": 3}, {"open": -1}, {"red_team": 2}])
def test_numbers_out_of_range_are_refused(tmp_path: Path, options: dict[str, int]) -> None:
    with pytest.raises(ConfigError):
        found(tmp_path, **options)
