"""Simulated clusters of Ray for tests: several nodes on this machine, each with a folder of its own."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import world


class Nodes:
    """A head and other nodes, each with a folder of its own; short names, because sockets lie in them."""

    def __init__(self, folder: Path, others: int, gpus: int = 0) -> None:
        from ray.cluster_utils import Cluster

        self._folder, self._count, self._gpus = folder, 0, gpus
        self.cluster = Cluster(initialize_head=True, head_node_args=self._arguments())
        self.others = [self.add() for _ in range(others)]
        self.cluster.wait_for_nodes()

    def _arguments(self) -> dict[str, Any]:
        self._count += 1
        place = self._folder / f"n{self._count}"
        own: dict[str, Any] = (
            {"temp_dir": str(place), "num_gpus": self._gpus} if self._count > 1 else {"include_dashboard": False}
        )
        return {"num_cpus": 1, "object_store_memory": 80 << 20, **own}

    def add(self) -> Any:
        """One more node."""
        return self.cluster.add_node(**self._arguments())

    def lose(self, node: Any) -> None:
        """Kill a node's processes and delete all that it had on its disk."""
        raylets = [one.process.pid for one in node.all_processes["raylet"]]
        workers = [pid for raylet in raylets for pid in _children(raylet)]
        self.cluster.remove_node(node, allow_graceful=False)
        for pid in workers:  # they would go on for seconds, as on no node that has lost its power
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        folder = Path(node.get_temp_dir_path())
        assert folder.parent == self._folder
        shutil.rmtree(folder, ignore_errors=True)
        assert not folder.exists()


def _children(parent: int) -> list[int]:
    """Processes that a process has begun."""
    found = Path(f"/proc/{parent}/task").glob("*/children")
    return [int(pid) for tasks in found for pid in tasks.read_text().split()]


@contextmanager
def cluster(others: int, gpus: int = 0) -> Iterator[Nodes]:
    """A head and others with so many GPUs each; whether there really are any, nobody looks."""
    folder = Path(tempfile.mkdtemp(prefix="vlf"))
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    nodes = Nodes(folder, others, gpus)
    try:
        yield nodes
    finally:
        nodes.cluster.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


def on(nodes: Nodes, *arguments: str | Path) -> Any:
    """`vlfeedback run … --engine ray --json` on a cluster, in a process of its own."""
    return world.start("run", *arguments, "--engine", "ray", "--json", RAY_ADDRESS=nodes.cluster.address)


def ended(process: Any, code: int = 0) -> str:
    """Wait for the end; what was said on stderr."""
    out, err = process.communicate(timeout=240)
    assert process.returncode == code, f"exit {process.returncode}, not {code}\n{out}\n{err}"
    if code == 0:
        json.loads(out)  # one document, whatever workers and engines have said
    return err
