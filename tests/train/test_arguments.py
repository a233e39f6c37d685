"""What the launcher has been told of number formats does not decide: the recipe does."""

# pyright: reportMissingTypeStubs=false

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import toy_llava
from accelerate.state import AcceleratorState

from vlfeedback.train import Lora, Recipe, train
from vlfeedback.train._log import read_log
from vlfeedback.train.sigmoid import load


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """A process as `accelerate launch` with a `mixed_precision` starts it; what it decided is forgotten afterwards."""

    def launch(precision: str) -> None:
        AcceleratorState._reset_state(reset_partial_state=True)  # pyright: ignore[reportPrivateUsage, reportUnknownMemberType]
        monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", precision)

    yield launch
    AcceleratorState._reset_state(reset_partial_state=True)  # pyright: ignore[reportPrivateUsage, reportUnknownMemberType]


@pytest.mark.parametrize("precision", ["bf16", "no"])
def test_a_launchers_mixed_precision_leaves_policy_and_reference_alike(
    launched: Callable[[str], None],
    recipe: Callable[..., Recipe],
    colours: toy_llava.Colours,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    precision: str,
) -> None:
    launched(precision)
    # A group a batch and adapters that begin at zero: reference and policy do not even round otherwise.
    alone = recipe(tokens_per_batch=1, lora=Lora(r=4))
    train(toy_llava.groups(colours, 4), alone, roots=colours, out=tmp_path / "out", objective=load())
    first = read_log(tmp_path / "out" / "train_log.jsonl")[0]
    assert (first["logratios/chosen"], first["logratios/rejected"]) == (0.0, 0.0)
    assert os.environ["ACCELERATE_MIXED_PRECISION"] == "no"
    told = "mixed_precision = bf16 of the launcher is not used: [train] dtype = fp32 decides"
    assert (told in capsys.readouterr().err) == (precision == "bf16")
