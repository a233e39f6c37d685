"""The truth of a scene survives its picture, and the two sides never meet."""

from __future__ import annotations

import io

import pytest
from hypothesis import given, settings, strategies as st
from PIL import Image

from vlfeedback.pocket import scenes
from vlfeedback.pocket.scenes import Badge, Character, Object, Scene, Sign

THINGS = st.one_of(
    st.builds(
        lambda shape, colour, size: lambda place: Object(place, shape, colour, size),
        st.sampled_from(scenes.SHAPES),
        st.sampled_from(list(scenes.COLOURS)),
        st.sampled_from(scenes.SIZES),
    ),
    st.sampled_from(scenes.DIGITS + scenes.LETTERS).map(lambda text: lambda place: Character(place, text)),
    st.sampled_from(scenes.NAMES).map(lambda name: lambda place: Badge(place, name)),
    st.sampled_from(scenes.ORDERS).map(lambda word: lambda place: Sign(place, word)),
    st.none(),
)
SCENES = st.lists(THINGS, min_size=9, max_size=9).map(
    lambda cells: Scene(tuple(cell(place) for place, cell in enumerate(cells) if cell is not None))
)


@settings(max_examples=300, deadline=None)
@given(SCENES)
def test_a_scene_is_read_back_from_its_pixels(scene: Scene) -> None:
    assert scenes.read(Image.open(io.BytesIO(scenes.png(scene)))) == scene


@settings(max_examples=50, deadline=None)
@given(SCENES, st.sampled_from([96, 336, 448]))
def test_a_scene_is_read_back_from_an_enlarged_jpeg(scene: Scene, width: int) -> None:
    enlarged = scenes.render(scene).resize((width, width), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    enlarged.save(buffer, format="JPEG", quality=90)
    assert scenes.read(Image.open(buffer)) == scene


def test_drawing_depends_on_seed_index_and_side_alone() -> None:
    assert scenes.draw(3, 5) == scenes.draw(3, 5)
    assert len({scenes.draw(seed, index) for seed in (0, 1) for index in range(20)}) == 40


def test_the_sides_never_meet() -> None:
    train = set(scenes.many(0, 300))
    held_out = set(scenes.many(0, 300, on="eval")) | set(scenes.many(7, 300, on="eval"))
    assert not train & held_out
    assert all(scenes.side(scene) == "train" for scene in train)


def test_sides_follow_the_content_and_not_the_seed() -> None:
    drawn = [scenes._draw(scenes.random.Random(index)) for index in range(1500)]
    share = sum(scenes.side(scene) == "eval" for scene in drawn) / len(drawn)
    assert 0.16 < share < 0.24


def test_many_never_repeats_a_scene() -> None:
    drawn = list(scenes.many(0, 400))
    assert len(set(drawn)) == len(drawn) == 400


def test_things_lie_in_different_cells_in_order() -> None:
    with pytest.raises(ValueError, match="different cells"):
        Scene((Badge(4, "ANN"), Sign(4, "CAT")))
    with pytest.raises(ValueError, match="different cells"):
        Scene((Badge(4, "ANN"), Sign(2, "CAT")))


def test_views_of_a_scene() -> None:
    ring = Object(0, "ring", "red", "small")
    scene = Scene((ring, Character(1, "4"), Badge(2, "ANN"), Character(3, "K"), Sign(5, "CAT")))
    assert scene.objects == (ring,)
    assert (scene.digits, scene.letters) == ((4,), ("K",))
    assert (scene.badge, scene.sign) == (Badge(2, "ANN"), Sign(5, "CAT"))
    assert (scene.at(0), scene.at(8)) == (ring, None)
