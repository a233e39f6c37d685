"""Nodes that come later: one that cannot be used is left out, and keeps no other from being used."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from vlfeedback import __version__, config
from vlfeedback.errors import ConfigError
from vlfeedback.run_folder import RunFolder
from vlfeedback.scale._cluster import Engine, RayWorker


@pytest.fixture
def versions(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The nodes of a stand-in for Ray, each with the version of this package that is installed there."""
    nodes: dict[str, str] = {}

    class RayError(Exception):
        pass

    ray: Any = ModuleType("ray")
    ray.nodes = lambda: [{"NodeID": name, "Alive": True, "Resources": {}} for name in nodes]
    ray.wait = lambda all_, **_: (all_, [])
    ray.get = lambda node: nodes[node]
    ray.exceptions = ModuleType("ray.exceptions")
    ray.exceptions.RayError, ray.exceptions.RayTaskError = RayError, type("RayTaskError", (RayError,), {})
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setitem(sys.modules, "ray.exceptions", ray.exceptions)

    def start(self: Engine, node: str, *, gpu: bool, computes: bool) -> RayWorker:
        del self, gpu
        hello = SimpleNamespace(remote=lambda: node)
        return RayWorker(SimpleNamespace(hello=hello), f"on {node}", node, computes)

    monkeypatch.setattr(Engine, "_start", start)
    return nodes


def engine(folder: Path) -> Engine:
    return Engine(RunFolder.create(folder / "run", config.parse({}, "test")), weights=False, plugins=False)


def test_a_node_with_another_version_that_joins_is_left_out(
    versions: dict[str, str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    versions["head"] = __version__
    hiring = engine(tmp_path)
    versions |= {"old": "0.0.1", "new": __version__}
    with caplog.at_level(logging.WARNING):
        found = hiring.hire(hiring.crew.workers)
        assert [worker.name for worker in found] == ["on new"]
        hiring.crew.add(found)
        assert hiring.hire(hiring.crew.workers) == []
    said = [one.getMessage() for one in caplog.records]
    assert len(said) == 1, "it is said once, not every ten seconds"
    assert "node old has vlfeedback 0.0.1" in said[0] and "left out" in said[0]


def test_at_the_start_it_ends_the_command(versions: dict[str, str], tmp_path: Path) -> None:
    versions |= {"head": __version__, "old": "0.0.1"}
    with pytest.raises(ConfigError, match=r"node old has vlfeedback 0\.0\.1"):
        engine(tmp_path)
