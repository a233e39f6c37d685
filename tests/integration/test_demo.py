"""The demo is the real pipeline on a shipped run.toml."""

from __future__ import annotations

from vlfeedback import registry
from vlfeedback.commands.demo import settings
from vlfeedback.pocket import pool


def test_the_demo_has_twelve_pool_models_in_at_least_four_checkpoints() -> None:
    found = settings()
    names = [table.options["model"] for table in found.pool]
    assert tuple(names) == pool.NAMES and len(names) == 12
    assert len({pool.MEMBERS[name].checkpoint for name in names}) >= 4
    assert found.decode.k == 4 and found.train.loss.options["beta"] == 0.1


def test_every_plugin_of_the_demo_exists() -> None:
    found = settings(seed=3)
    assert all("pocket" in registry.names(room) for room in ("source", "models", "evaluate"))
    assert found.pair.use in registry.names("pair")
    assert found.source[0].options["seed"] == found.train.options["seed"] == 3
    assert {table.options["seed"] for table in (*found.pool, *found.upper)} == {3}


def test_quick_is_smaller_and_of_the_same_story() -> None:
    whole, quick = settings(), settings(quick=True)
    assert quick.source[0].options["scenes"] < whole.source[0].options["scenes"]
    assert quick.pool == whole.pool and quick.judge == whole.judge and quick.train == whole.train
    assert {one.name for one in whole.control} >= {"dpo:shuffled", "dpo:blind", "sft:best", "dpo:longest"}
