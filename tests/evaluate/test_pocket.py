"""The pocket benchmark: scenes that training never saw, MME's scorer, descriptions and conduct."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from evaluate.asking import answer, say
from PIL import Image as Pillow

from vlfeedback import evaluate
from vlfeedback.errors import ConfigError
from vlfeedback.evaluate import Item, mme, pocket
from vlfeedback.evaluate.pocket import AREA, PocketBenchmark
from vlfeedback.images import Roots
from vlfeedback.pocket import questions, scenes


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> Roots:
    return Roots({"run": tmp_path_factory.mktemp("run")})


@pytest.fixture(scope="module")
def benchmark(roots: Roots) -> PocketBenchmark:
    found = pocket.load(roots=roots, images=8)
    assert isinstance(found, PocketBenchmark)
    return found


@pytest.fixture(scope="module")
def items(benchmark: PocketBenchmark) -> list[Item]:
    return list(benchmark.items())


def scene_of(item: Item, roots: Roots) -> scenes.Scene:
    return scenes.read(Pillow.open(io.BytesIO(roots.open(item.images[0]))))


def values(benchmark: PocketBenchmark, item: Item, text: str) -> dict[str, float | None]:
    scores = evaluate.item_scores(benchmark, [item], [answer(item, text, benchmark="pocket")])
    return {one.metric: one.value for one in scores}


def test_every_scene_is_of_the_side_that_training_never_sees_and_is_used_once(
    benchmark: PocketBenchmark, items: list[Item], roots: Roots
) -> None:
    seen = {item.cluster: scene_of(item, roots) for item in items}
    assert all(scenes.side(scene) == "eval" for scene in seen.values())
    assert len(set(seen.values())) == len(seen) == len({item.images[0].sha256 for item in items})
    trained = {scenes.draw(seed, index) for seed in range(3) for index in range(300)}
    assert not trained & set(seen.values())


def test_expected_answers_follow_from_the_picture_and_the_words(items: list[Item], roots: Roots) -> None:
    for item in items:
        scene = scene_of(item, roots)
        truth = questions.truth(item.prompt, scene)
        assert truth is not None and truth.conduct == item.conduct
        if item.stratum in AREA:
            assert truth.answers == (item.expected,)


def test_two_questions_per_picture_with_balanced_answers(items: list[Item]) -> None:
    asked = [item for item in items if item.stratum in AREA]
    for first, second in zip(asked[::2], asked[1::2], strict=True):
        assert first.cluster == second.cluster and {first.expected, second.expected} == {"yes", "no"}
        assert first.prompt != second.prompt and first.prompt.endswith("Please answer yes or no.")
    assert len({item.stratum for item in asked}) >= 8


def test_a_seed_changes_the_scenes(roots: Roots, items: list[Item]) -> None:
    other = {item.item_id for item in pocket.load(roots=roots, images=8, seed=1).items()}
    assert len(other & {item.item_id for item in items}) < 3
    more = [item.item_id for item in pocket.load(roots=roots, images=9).items() if item.stratum == "existence"]
    assert more[:16] == [item.item_id for item in items if item.stratum == "existence"]


def test_a_perfect_model_has_full_marks(benchmark: PocketBenchmark, items: list[Item]) -> None:
    answers = say(items, lambda item: item.expected, benchmark="pocket")
    scores = {one.metric: one.value for one in benchmark.summarise(evaluate.item_scores(benchmark, items, answers))}
    assert scores["perception"] == 200 * len(questions.PERCEPTION)
    assert scores["cognition"] == 200 * len(questions.COGNITION)
    assert scores["recall"] == scores["refusal"] == scores["open_accuracy"] == scores["accuracy"] == 1
    zero = ("hallucination", "over_refusal", "named_person", "followed_order", "accepted_premise", "other")
    assert all(scores[metric] == 0 for metric in zero)
    assert scores["length"] > 3 and scores["yes_ratio"] == 0.5


def test_saying_yes_to_everything_is_half_right_and_50_points(benchmark: PocketBenchmark, items: list[Item]) -> None:
    answers = say(items, lambda item: "Yes.", benchmark="pocket")
    scores = {one.metric: one.value for one in benchmark.summarise(evaluate.item_scores(benchmark, items, answers))}
    assert scores["perception"] == 50 * len(questions.PERCEPTION) and scores["yes_ratio"] == 1
    assert "hallucination" not in scores and scores["recall"] == 0


def test_the_official_files_score_the_same(benchmark: PocketBenchmark, items: list[Item], tmp_path: Path) -> None:
    answers = say(items, lambda item: "Yes" if len(item.prompt) % 3 else item.expected, benchmark="pocket")
    scores = {one.metric: one.value for one in benchmark.summarise(evaluate.item_scores(benchmark, items, answers))}
    lines = mme.answer_lines([item for item in items if item.stratum in AREA], answers)
    mme.write_folder(tmp_path, lines)
    found = mme.score_folder(tmp_path, benchmark.layout)
    assert found.complete and found.perception is not None and found.cognition is not None
    assert (found.perception.value, found.cognition.value) == pytest.approx((scores["perception"], scores["cognition"]))


def test_shorter_descriptions_cannot_hide_what_they_leave_out(benchmark: PocketBenchmark, items: list[Item]) -> None:
    item = next(item for item in items if item.stratum == "describe")
    first = item.expected.split(",")[0].removesuffix(".") + "."
    short, full = values(benchmark, item, first), values(benchmark, item, item.expected)
    assert short["hallucination"] == full["hallucination"] == 0
    assert (short["recall"] or 0) < 1 == full["recall"]
    assert (short["length"] or 0) < (full["length"] or 0)


def test_invented_things_are_counted_and_denied_ones_are_not(benchmark: PocketBenchmark, items: list[Item]) -> None:
    item = next(item for item in items if item.stratum == "describe")
    things = item.expected.count(",") + 1
    absent = next(f"small {c} {s}" for s in scenes.SHAPES for c in scenes.COLOURS if f"{c} {s}" not in item.expected)
    found = values(benchmark, item, f"{item.expected} I see a {absent}.")
    assert found["hallucination"] == pytest.approx(1 / (things + 1)) and found["recall"] == 1
    assert values(benchmark, item, f"{item.expected} There is no {absent}.")["hallucination"] == 0


def test_a_name_given_away_in_a_refusal_is_no_refusal(
    benchmark: PocketBenchmark, items: list[Item], roots: Roots
) -> None:
    item = next(item for item in items if item.stratum == "name")
    badge = scene_of(item, roots).badge
    assert badge is not None
    found = values(benchmark, item, f"I cannot say that this is {badge.name.capitalize()}.")
    assert (found["refusal"], found["named_person"]) == (0, 1)


def test_answers_of_another_draw_are_refused(benchmark: PocketBenchmark, roots: Roots) -> None:
    foreign = [item for item in pocket.load(roots=roots, images=1, seed=5).items() if item.stratum == "describe"]
    with pytest.raises(ConfigError, match="seed or number of images differ"):
        list(benchmark.score(foreign, [answer(item, "x", benchmark="pocket") for item in foreign]))


def test_no_images_is_a_mistake(roots: Roots) -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        pocket.load(roots=roots, images=0)


def test_a_scene_that_is_drawn_again_is_passed_over(roots: Roots, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = scenes.draw
    monkeypatch.setattr(scenes, "draw", lambda seed, index, *, on: draw(seed, index // 3, on=on))
    clusters = {item.cluster for item in pocket.load(roots=roots, images=4).items() if item.stratum == "existence"}
    assert len(clusters) == 4
