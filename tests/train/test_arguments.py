"""What a launcher leaves in the environment: the recipe decides on number formats, and what cannot be is said."""

# pyright: reportMissingTypeStubs=false

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import toy_llava
from accelerate.state import AcceleratorState

from vlfeedback.errors import ConfigError
from vlfeedback.train import Lora, Recipe, _run, _weights, train
from vlfeedback.train._log import read_log
from vlfeedback.train._world import world
from vlfeedback.train.sigmoid import load


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """A process as `accelerate launch` with a `mixed_precision` starts it; what it decided is forgotten afterwards."""
    before = dict(os.environ)

    def launch(precision: str) -> None:
        AcceleratorState._reset_state(reset_partial_state=True)  # pyright: ignore[reportPrivateUsage, reportUnknownMemberType]
        monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", precision)

    yield launch
    os.environ.clear()  # accelerate writes down who it takes a process for
    os.environ.update(before)
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
    # Adapters begin at zero: what is left is rounding, and 16 bits would be five thousandths.
    train(toy_llava.groups(colours, 4), recipe(lora=Lora(r=4)), roots=colours, out=tmp_path / "out", objective=load())
    first = read_log(tmp_path / "out" / "train_log.jsonl")[0]
    assert abs(first["logratios/chosen"]) < 1e-5 > abs(first["logratios/rejected"])
    assert os.environ["ACCELERATE_MIXED_PRECISION"] == "no"
    told = "mixed_precision = bf16 of the launcher is not used: [train] dtype = fp32 decides"
    assert (told in capsys.readouterr().err) == (precision == "bf16")


@pytest.mark.parametrize(
    ("changes", "loaded", "words"),
    [
        ({"report_to": ("nobody",)}, 0, "report_to: nobody cannot be used here"),
        ({"lora": Lora(targets=("nobody", "q_proj"))}, 1, r"targets \['nobody'\] are not in the language model"),
    ],
)
def test_a_wrong_setting_is_said_before_anything_is_computed(
    recipe: Callable[..., Recipe],
    colours: toy_llava.Colours,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, Any],
    loaded: int,
    words: str,
) -> None:
    calls: list[str] = []
    load_model = _run.load_model
    monkeypatch.setattr(_run, "load_model", lambda asked: calls.append("loaded") or load_model(asked))  # type: ignore[func-returns-value]
    for name in ("encoder_of", "chosen_layout", "reference"):
        monkeypatch.setattr(_run, name, lambda *given, name=name, **options: calls.append(name))  # type: ignore[misc]
    with pytest.raises(ConfigError, match=words):
        train(toy_llava.groups(colours, 3), recipe(**changes), roots=colours, out=tmp_path / "out", objective=load())
    assert calls == ["loaded"] * loaded and not (tmp_path / "out").exists()


def test_a_model_without_a_tower_to_freeze_is_refused_before_anything_is_computed(
    recipe: Callable[..., Recipe], colours: toy_llava.Colours, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def tower(model: Any) -> Any:
        raise ConfigError("no vision tower that could be frozen")

    monkeypatch.setattr(_weights, "vision_tower", tower)
    with pytest.raises(ConfigError, match="no vision tower"):
        train(toy_llava.groups(colours, 3), recipe(), roots=colours, out=tmp_path / "out", objective=load())
    assert not (tmp_path / "out").exists()


def test_a_number_of_processes_without_a_launcher_is_said_in_words(
    launched: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    launched("no")
    for name in ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match=r"WORLD_SIZE=2 .* torchrun or accelerate launch, or unset WORLD_SIZE"):
        world()
