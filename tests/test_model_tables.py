"""`batch` of a model's table: true is the provider's batches, a number belongs to the model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from vlfeedback import config, prices, toml_text
from vlfeedback.commands._plan_models import model_of
from vlfeedback.config import JudgeTable, PoolTable
from vlfeedback.errors import ConfigError
from vlfeedback.images import Roots
from vlfeedback.models.transformers import TransformersModel
from vlfeedback.run_models import bare


@pytest.mark.parametrize("name", ["pool", "judge"])
def test_a_number_is_an_option_of_the_model_and_true_is_none(name: str) -> None:
    def table(**keys: object) -> PoolTable | JudgeTable:
        settings = config.parse({name: [{"model": "org/vlm", **keys}]}, "test")
        again = config.parse(toml_text.loads(config.to_toml(settings)), "again")
        assert again == settings
        return getattr(again, name)[0]

    eight = table(use="transformers", batch=8)
    assert eight.options == {"model": "org/vlm", "batch": 8}
    assert not eight.by_provider
    model = bare(eight, "[[pool]] 1", Roots({}))
    assert isinstance(model, TransformersModel) and model.batch == 8
    bought = table(use="openai", batch=True)
    assert bought.options == {"model": "org/vlm"}
    assert bought.by_provider
    assert not table(use="openai").by_provider
    with pytest.raises(ConfigError, match="batch = 8 is a local model's number"):
        bare(table(use="openai", batch=8), "[[pool]] 1", Roots({}))


@pytest.mark.parametrize("batch", [0, -1, 1.5, "yes", "true"])
def test_anything_else_is_refused(batch: object) -> None:
    with pytest.raises(ConfigError, match="batch"):
        config.parse({"pool": [{"use": "transformers", "model": "org/vlm", "batch": batch}]}, "test")


@pytest.mark.parametrize("section", ["pool", "judge", "upper"])
def test_a_model_without_a_name_is_refused(section: str) -> None:
    with pytest.raises(ConfigError, match=rf"test: \[\[{section}\]\] 2: model = ' ' names no model"):
        config.parse({section: [{"use": "openai", "model": "m"}, {"use": "openai", "model": " "}]}, "test")
    named = config.parse({"pool": [{"use": "openai", "model": "m"}]}, "test")
    with pytest.raises(ConfigError, match="names no model"):
        config.changed(named, {"pool.0.model": ""})


@pytest.mark.parametrize(
    ("key", "table"),
    [
        ("annotate.budget", {"annotate": {"budget": True}}),
        ("decode.k", {"decode": {"k": True}}),
        ("pool.0.share", {"pool": [{"use": "pocket", "share": True}]}),
        ("source.0.sample", {"source": [{"use": "jsonl", "sample": True}]}),
    ],
)
def test_a_truth_is_no_number(key: str, table: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=rf"{key}: .*must not be true or false \(it is True\)"):
        config.parse(table, "test")


def test_where_a_truth_is_wanted_it_is_taken() -> None:
    found = config.parse({"annotate": {"partial": True}, "control": [{"name": "x", "set": {"train.full": True}}]}, "")
    assert found.annotate.partial and found.control[0].set == {"train.full": True}


@pytest.mark.parametrize(
    ("keys", "at_once"),
    [
        ({"use": "transformers"}, 32),
        ({"use": "transformers", "batch": 8}, 8),
        ({"use": "pocket", "model": "policy"}, 128),
        ({"use": "vllm"}, 256),
        ({"use": "vllm", "max_num_seqs": 16}, 16),
    ],
)
def test_a_plan_takes_as_many_at_a_time_as_the_model_does(keys: dict[str, object], at_once: int) -> None:
    table = PoolTable.model_validate({"model": "org/vlm", **keys})
    assert model_of(table, "[[pool]] 1", 64, prices.read("")).in_flight == at_once


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
@pytest.mark.parametrize(
    "settings",
    [
        lambda value: {"source": [{"use": "jsonl", "weight": value}]},
        lambda value: {"decode": {"temperature": value}},
        lambda value: {"annotate": {"budget": value}},
        lambda value: {"pool": [{"use": "openai", "model": "m", "share": value}]},
        lambda value: {"train": {"learning_rate": value}},
    ],
)
def test_a_number_without_end_is_refused(settings: Callable[[float], dict[str, Any]], value: float) -> None:
    with pytest.raises(ConfigError, match=r"finite|greater than|less than"):
        config.parse(settings(value), "test")


def test_a_weight_beside_which_the_others_vanish_is_refused() -> None:
    with pytest.raises(ConfigError, match="weight"):
        config.parse({"source": [{"use": "jsonl", "weight": 1e308}]}, "test")
