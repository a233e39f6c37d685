"""Sampled answers: asked for in [evaluate], drawn item by item, recorded in the conditions."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from evaluate.asking import tiny_mme
from tiny_models import write_llava

from vlfeedback import config, evaluate
from vlfeedback.errors import ConfigError
from vlfeedback.evaluate import GREEDY, Decoding, Item, mme
from vlfeedback.models import transformers as backend
from vlfeedback.records import Generation, Request

WARM = Decoding(0.9, 0.95, 7)
BENCHMARKS = {"mme": {"path": "/nowhere"}, "pope": {"path": "/nowhere", "temperature": 0.2}}


def test_what_stands_in_evaluate_holds_for_every_benchmark_that_does_not_say_otherwise() -> None:
    found = config.parse({"evaluate": {"temperature": 0.7, "sampling_seed": 3, **BENCHMARKS}}, "test").evaluate
    assert (found["mme"].temperature, found["mme"].top_p, found["mme"].sampling_seed) == (0.7, 1.0, 3)
    assert (found["pope"].temperature, found["pope"].sampling_seed) == (0.2, 3)
    assert "temperature" not in found["mme"].options


def test_a_change_of_a_setting_for_all_reaches_all(tmp_path: Path) -> None:
    settings = config.parse({"evaluate": BENCHMARKS}, "test")
    changed = config.changed(settings, {"evaluate.temperature": 0.5, "evaluate.pope.top_p": 0.9}).evaluate
    assert [one.temperature for one in changed.values()] == [0.5, 0.5]
    assert (changed["mme"].top_p, changed["pope"].top_p) == (1.0, 0.9)
    path = tmp_path / "run.toml"
    path.write_text(config.to_toml(config.changed(settings, {"evaluate.temperature": 0.5})), encoding="utf-8")
    assert config.load(path).evaluate["mme"].temperature == 0.5


def test_greedy_is_the_default_and_mistakes_are_named() -> None:
    assert config.parse({"evaluate": BENCHMARKS}, "test").evaluate["mme"].temperature == 0.0
    with pytest.raises(ConfigError, match=r"\[evaluate\] temprature is no table.*temperature"):
        config.parse({"evaluate": {"temprature": 0.7, **BENCHMARKS}}, "test")
    with pytest.raises(ConfigError, match=r"\[evaluate\] seed is no table.*sampling_seed"):
        config.parse({"evaluate": {"seed": 1, **BENCHMARKS}}, "test")
    for key, value in (("temperature", -1), ("top_p", 0), ("top_p", 1.5), ("temperature", "warm")):
        with pytest.raises(ConfigError, match=f"evaluate.mme.{key}"):
            config.parse({"evaluate": {"mme": {key: value}}}, "test")


def item(name: str) -> Item:
    return Item(name, "Is it?", (), name, "s")


def test_every_item_has_a_seed_of_its_own_and_greedy_ones_have_none() -> None:
    assert evaluate.request(item("a")) == evaluate.request(item("a"), decoding=GREEDY)
    assert evaluate.request(item("a")).sampling == replace(evaluate.request(item("a")).sampling, seed=None, top_p=1.0)
    one, two, other = (
        evaluate.request(item(name), decoding=how).sampling
        for name, how in (("a", WARM), ("b", WARM), ("a", WARM._replace(seed=8)))
    )
    assert (one.temperature, one.top_p) == (0.9, 0.95)
    assert len({one.seed, two.seed, other.seed}) == 3 and all(0 <= (s.seed or -1) < 2**31 for s in (one, two, other))
    assert one == evaluate.request(item("a"), decoding=WARM).sampling
    assert evaluate.request(item("a"), decoding=WARM._replace(seed=None)).sampling.seed is None
    assert evaluate.request(item("a"), decoding=Decoding(0.0, 0.5, 9)) == evaluate.request(item("a"))


class Recorder:
    """Keeps what it was asked."""

    identity = "recorder"

    def __init__(self) -> None:
        self.asked: list[Request] = []

    async def answer(self, request: Request) -> Generation:
        self.asked.append(request)
        await asyncio.sleep(0)
        return Generation(str(request.sampling.seed), "stop")


def test_the_answers_are_asked_with_it(tmp_path: Path) -> None:
    model = Recorder()
    found = list(evaluate.answers([item("a"), item("b")], model, benchmark="b", decoding=WARM))
    assert {one.sampling.temperature for one in model.asked} == {0.9}
    assert len({one.text for one in found}) == 2


def test_the_conditions_record_temperature_nucleus_and_the_seed_of_all() -> None:
    class Bench:
        name, protocol = "b", "b/1"

    def told(how: Decoding) -> evaluate.Conditions:
        return evaluate.conditions(Bench(), [item("a"), item("b")], model="m", dtype="", decoding=how)  # type: ignore[arg-type]

    assert told(GREEDY).decoding == "temperature 0.0, top-p 1.0, at most 64 tokens"
    assert told(WARM).decoding == "temperature 0.9, top-p 0.95, at most 64 tokens, seed 7"
    assert told(WARM).prompts == told(GREEDY).prompts
    for other in (GREEDY, WARM._replace(temperature=0.8), WARM._replace(top_p=1.0), WARM._replace(seed=8)):
        assert [one.what for one in evaluate.unlike([told(WARM)], [told(other)])] == ["decoding"]


def test_local_samples_do_not_depend_on_batch_order_or_company(tmp_path: Path) -> None:
    checkpoint = write_llava(tmp_path / "base")
    roots = tiny_mme(tmp_path / "mme", pictures=4)
    items = list(mme.load(path=tmp_path / "mme", images="mme", roots=roots, max_tokens=12).items())

    def texts(asked: Sequence[Item], batch: int, how: Decoding) -> dict[str, str]:
        model = backend.load(model=str(checkpoint), roots=roots, batch=batch)
        found = evaluate.answers(asked, model, benchmark="mme", in_flight=2 * batch, decoding=how)
        return {one.item_id: one.text for one in found}

    warm = texts(items, 3, WARM)
    assert texts(items[::-1], 7, WARM) == warm
    assert texts(items[4:9], 1, WARM) == {one.item_id: warm[one.item_id] for one in items[4:9]}
    assert warm != texts(items, 3, GREEDY) and warm != texts(items, 3, WARM._replace(seed=8))
