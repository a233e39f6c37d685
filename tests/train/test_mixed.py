"""Groups with and without a picture on two processes: all make the same calls, whatever their batch shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from launched import CONFIGS, deepspeed, furthest, trained

FSDP2 = CONFIGS / "fsdp2.yaml"
# Steps of one group leave one of two processes without a picture, and some steps both.
CASES = [
    pytest.param("lora", FSDP2, {}, id="adapters-spread", marks=pytest.mark.slow),
    pytest.param("full", FSDP2, {"pairs_per_step": 3}, id="spread"),
    pytest.param("full", None, {"pairs_per_step": 3, "gradient_checkpointing": True}, id="whole-recomputed"),
    pytest.param("lora", FSDP2, {"apart": True}, id="adapters-spread-apart"),
    pytest.param("full", FSDP2, {"apart": True}, id="spread-apart", marks=pytest.mark.slow),
    pytest.param("full", FSDP2, {"gradient_checkpointing": True}, id="spread-recomputed", marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("kind", "config", "changes"), CASES)
def test_two_processes_train_as_one_does(
    tmp_path: Path, model_path: Path, kind: str, config: Path | None, changes: dict[str, Any]
) -> None:
    alone, both = tmp_path / "alone", tmp_path / "both"
    said = trained(alone, model_path, kind, mixed=True, **changes)
    assert trained(both, model_path, kind, config, processes=2, mixed=True, **changes) == "\n".join([said] * 2)
    assert furthest(alone, both) < 1e-5


@pytest.mark.peers
@pytest.mark.parametrize(("kind", "stage"), [("full", "zero2"), ("full", "zero3"), ("lora", "zero3")])
def test_deepspeed_trains_as_one_process_does(tmp_path: Path, model_path: Path, kind: str, stage: str) -> None:
    alone, both = tmp_path / "alone", tmp_path / "both"
    said = trained(alone, model_path, kind, mixed=True)
    with deepspeed() as place:
        assert trained(both, model_path, kind, CONFIGS / f"{stage}.yaml", place, mixed=True) == "\n".join([said] * 2)
    assert furthest(alone, both) < 1e-5
