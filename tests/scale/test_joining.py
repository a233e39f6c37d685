"""A cluster that is gone: Ray itself would look for it without end."""

from __future__ import annotations

import socket
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from vlfeedback import config
from vlfeedback.errors import ModelUnavailable
from vlfeedback.run_folder import RunFolder
from vlfeedback.scale import _cluster


@pytest.fixture
def begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a stand-in for Ray was told to do; it finds its notes in a folder of the test."""
    done: list[str] = []

    def init(**_: Any) -> None:
        done.append("init")
        raise ConnectionError("Ray's own words")

    fake: Any = ModuleType("ray")
    fake.__spec__ = ModuleSpec("ray", None)
    fake.init, fake.is_initialized = init, lambda: False
    monkeypatch.setitem(sys.modules, "ray", fake)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    return done


@pytest.fixture
def gone() -> str:
    """An address at which nobody listens any more."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"127.0.0.1:{server.getsockname()[1]}"


def join(folder: Path) -> str:
    """What is said about a cluster that cannot be joined."""
    run = RunFolder.create(folder / "run", config.parse({}, "test"))
    with pytest.raises(ModelUnavailable) as said, _cluster.engine(run):
        pass
    return str(said.value)


def test_a_cluster_that_is_gone_is_named(
    tmp_path: Path, begun: list[str], gone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", gone)
    said = join(tmp_path)
    assert f"no Ray cluster answers at {gone}" in said and "which RAY_ADDRESS names" in said
    assert begun == []


@pytest.mark.parametrize("named", ["", "auto"])
def test_so_is_one_that_was_never_stopped(
    tmp_path: Path, begun: list[str], gone: str, named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a restart of the machine its note still lies there."""
    monkeypatch.setenv("RAY_ADDRESS", named)
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "ray_current_cluster").write_text(f"{gone}\n", encoding="utf-8")
    assert "which the last `ray start` names" in join(tmp_path)
    assert begun == []


@pytest.mark.parametrize("named", ["", "nonsense", "ray://127.0.0.1:1", "local"])
def test_what_ray_answers_soon_is_left_to_it(
    tmp_path: Path, begun: list[str], named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", named)
    assert "Ray's own words" in join(tmp_path)
    assert begun == ["init"]


def test_a_cluster_that_listens_is_joined(tmp_path: Path, begun: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{server.getsockname()[1]}")
        assert "Ray's own words" in join(tmp_path)
    assert begun == ["init"]
