from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny_models
from rich.console import Console

from vlfeedback.commands.doctor import Finding, doctor, show
from vlfeedback.errors import ModelUnavailable


def test_keys_are_named_and_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    monkeypatch.delenv("GEMINI_API_KEY", raising=False)
    found = doctor()
    states = {finding.name: (finding.value, finding.state) for finding in found.findings}
    assert states["OPENAI_API_KEY"] == ("set", "ok")
    assert states["GEMINI_API_KEY"] == ("not set", "absent")
    assert states["openai"][1] == "ok"
    console = Console(file=io.StringIO(), record=True)
    show(found, console)
    assert "OPENAI_API_KEY" in console.export_text(clear=False)
    assert "sk-very" not in json.dumps(found.to_json()) + console.export_text()


def trained(name: str) -> Finding:
    return Finding("training", name)


@pytest.mark.parametrize("write", [tiny_models.write_qwen2_vl, tiny_models.write_llava])
def test_a_model_is_trained_on_for_a_moment_before_anybody_has_data(
    write: Callable[[Path], Path], tmp_path: Path
) -> None:
    found = doctor(str(write(tmp_path / "model")), answers=lambda name: (["a"], ["a"])).findings[-1]
    assert (found.name, found.state) == ("training", "ok")
    said = r"layout shared; largest difference of a token in fp32 \(nats, 1e-04 allowed\): shared \de-0[6-9]"
    assert re.fullmatch(said, found.value)
    assert found.means == "a prompt is read once for all its responses"


def test_a_model_is_looked_at_in_the_precision_that_training_takes_by_itself() -> None:
    from vlfeedback.train import Recipe
    from vlfeedback.train._probe import fitting

    assert fitting("m") == Recipe("m")


def test_a_model_that_cannot_be_trained_on_says_why(tmp_path: Path) -> None:
    folder = tiny_models.write_llava(tmp_path / "model")
    settings = json.loads((folder / "processor_config.json").read_text())
    (folder / "processor_config.json").write_text(json.dumps({**settings, "patch_size": 12}))
    found = doctor(str(folder), answers=lambda name: (["a"], ["a"])).findings[-1]
    assert found.state == "bad" and "patch_size" in found.means


def test_a_model_whose_batches_change_its_replies_is_bad() -> None:
    good = doctor("m", answers=lambda name: (["a", "b"], ["a", "b"]), training=trained)
    bad = doctor("m", answers=lambda name: (["a", "c"], ["a", "b"]), training=trained)
    assert good.findings[-2].state == "ok"
    assert (bad.findings[-2].state, bad.ok) == ("bad", False)
    assert "1 of 2" in bad.findings[-2].value


@pytest.mark.parametrize(("kind", "state"), [("nfs4", "bad"), ("fuse.sshfs", "bad"), ("ext4", "ok"), ("", "absent")])
def test_a_ledger_on_a_network_file_system_is_bad(
    kind: str, state: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from vlfeedback.scale import _mounts

    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.toml").write_text(f'[ledger]\npath = "{tmp_path}/far/ledger.sqlite"\n')
    table = tmp_path / "mountinfo"
    far = f"31 30 0:31 / {tmp_path}/far rw - {kind} x rw\n" if kind else ""
    table.write_text(f"30 22 0:30 / / rw - ext4 /dev/sda1 rw\n{far}" if kind else "", encoding="utf-8")
    monkeypatch.setattr(_mounts, "MOUNTS", table)
    found = next(one for one in doctor(run=tmp_path / "run").findings if one.name == "ledger")
    assert found.state == state
    if state == "bad":
        assert kind in found.value and "[ledger] path" in found.means


@pytest.mark.parametrize(("alone", "code"), [(["a", "b"], 0), (["a", "c"], 1)])
def test_a_bad_model_ends_a_script_that_asks_first(
    alone: list[str], code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from typer.testing import CliRunner

    from vlfeedback.cli import app
    from vlfeedback.commands import doctor as command

    monkeypatch.setattr(command, "_ask", lambda name: (["a", "b"], alone))
    monkeypatch.setattr(command, "_training", trained)
    monkeypatch.setattr(command, "NEEDED_GB", 0.0)
    assert CliRunner().invoke(app, ["doctor", "--model", "m"]).exit_code == code
    assert CliRunner().invoke(app, ["doctor"]).exit_code == 0


def test_a_model_that_does_not_answer_is_not_the_same_alone_and_in_a_batch(tmp_path: Path) -> None:
    """Weights of NaN: nothing at all is said, and always the same."""
    from safetensors.torch import load_file, save_file

    folder = tiny_models.write_llava(tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    weights = {name: one * float("nan") if "projector" in name else one for name, one in weights.items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelUnavailable, match="16 of 16 questions have no answer: the model's numbers overflow"):
        doctor(str(folder), training=trained)
