"""Pocket models are asked like any other local model."""

from __future__ import annotations

import inspect
import signal
from pathlib import Path
from typing import Any

import pytest

from vlfeedback import flow
from vlfeedback.errors import ConfigError
from vlfeedback.images import Roots
from vlfeedback.models import pocket
from vlfeedback.pocket import school, tiny
from vlfeedback.pocket.scenes import draw, png
from vlfeedback.records import Part, Request, Sampling

pytest.importorskip("torch")


@pytest.fixture
def school_of_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """A school whose only pupil has learned nothing; says who was asked for."""
    calls: list[tuple[Any, ...]] = []
    tiny.save(tiny.build(0), tmp_path / "pupil", "plain")

    def checkpoint(name: str, seed: int, *, cache: Path | None) -> Path:
        calls.append((school._member_name(name), seed, cache))
        return tmp_path / "pupil"

    monkeypatch.setattr(school, "checkpoint", checkpoint)
    return calls


def request(roots: Roots, index: int) -> Request:
    image = roots.add(png(draw(0, index)), ".png")
    return Request("", (Part(image=image), Part(text="Who is the person?")), Sampling(temperature=1.0, max_tokens=12))


def test_it_answers_with_words_and_no_control_tokens(tmp_path: Path, school_of_one: list[tuple[Any, ...]]) -> None:
    roots = Roots({"run": tmp_path / "images"})
    model = pocket.load(model="pocket/strong", roots=roots, seed=4, cache=str(tmp_path))
    assert school_of_one == [("strong", 4, tmp_path)]
    assert model.identity == school.identity("strong", 4)
    made = model.answer_all([request(roots, index) for index in range(6)])
    assert all(generation.finish in ("stop", "length") and generation.usage.image == 9 for generation in made)
    assert len({generation.text for generation in made}) > 1
    assert not any("<" in generation.text for generation in made)


@pytest.mark.usefixtures("school_of_one")
def test_an_unknown_pupil_is_a_mistake_of_the_caller(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="agreeable"):
        pocket.load(model="stong", roots=Roots({"run": tmp_path}))


def test_ctrl_c_leaves_school_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def checkpoint(*given: object, **named: object) -> Path:
        signal.raise_signal(signal.SIGINT)
        raise AssertionError("school goes on for minutes")

    monkeypatch.setattr(school, "checkpoint", checkpoint)
    with flow.draining_on_interrupt(lambda text: None), pytest.raises(KeyboardInterrupt):
        pocket.load(model="strong", roots=Roots({"run": tmp_path}))


def test_options_are_annotated_and_documented() -> None:
    assert pocket.load.__doc__
    for option in inspect.signature(pocket.load, eval_str=True).parameters.values():
        assert option.kind is inspect.Parameter.KEYWORD_ONLY
        assert f"{option.name}:" in pocket.load.__doc__
