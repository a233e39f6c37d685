"""Workers on a Ray cluster. The command itself runs on the head and is the only one that touches ledger and tables."""

# pyright: reportMissingImports=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUntypedFunctionDecorator=false, reportMissingTypeStubs=false

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import socket
import sys
import threading
from collections.abc import Awaitable, Generator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from vlfeedback import __version__, _flow_signals as signals
from vlfeedback.config import PluginTable
from vlfeedback.errors import ConfigError, ModelUnavailable
from vlfeedback.models import Model
from vlfeedback.models.openai import OpenAIModel
from vlfeedback.records import Generation, Request
from vlfeedback.run_folder import RunFolder
from vlfeedback.scale._crew import Crew, Holder, Named, Spread, Told, Worker, WorkerGone, open_through
from vlfeedback.scale._mounts import require_local
from vlfeedback.scale._parcels import Carried, Carrier, Parcel, wanted

T = TypeVar("T")
_log = logging.getLogger(__name__)

STARTING = 120.0
"""Seconds a worker has to start: imports from a slow disk, a GPU that another one is about to give back."""

ANSWERING = 20.0
"""Seconds in which a cluster's head has to take a connection."""

AT_ONCE = 8192
"""Calls that one worker takes at a time; how many it gets is decided on the head."""


class _Hands:
    """What runs on a node."""

    def __init__(self, run: RunFolder, plugins: bool) -> None:
        from vlfeedback.run_models import bare

        roots = run.roots
        self._carrier = Carrier(roots)
        self._holder = Holder(lambda table, where: bare(table, where, roots, plugins))

    async def hello(self) -> str:
        """Its version of this package."""
        return __version__

    async def post(self, parcel: Parcel) -> Carried:
        return await self._carrier.post(parcel)

    async def ask(self, named: Named, request: Request) -> Generation | Told:
        return await self._holder.ask(named, request)

    async def release(self, number: int) -> None:
        await self._holder.release(number)


class RayWorker:
    """A worker that is an actor on a node; see `_crew.Worker`."""

    def __init__(self, actor: Any, name: str, node: str, computes: bool) -> None:
        self.actor, self.name, self.node, self.computes = actor, name, node, computes

    async def post(self, parcel: Parcel) -> Carried:
        return await _told(self.actor.post.remote(parcel))

    async def ask(self, named: Named, request: Request) -> Generation | Told:
        return await _told(self.actor.ask.remote(named, request))

    async def release(self, number: int) -> None:
        await _told(self.actor.release.remote(number))


async def _told(answer: Awaitable[T]) -> T:
    import ray.exceptions

    try:
        return await answer
    except (ray.exceptions.RayTaskError, ray.exceptions.TaskCancelledError):
        raise  # a fault of the program, with its trace
    except ray.exceptions.RayError as problem:
        raise WorkerGone(type(problem).__name__) from None


class Engine:
    """The workers of a command on a Ray cluster, and how models come to be asked through them.

    Args:
        run: The run folder; its pictures are best seen by all nodes at the same path.
        weights: Whether any model of the run is a local one: then every GPU of the cluster gets a worker.
        plugins: Whether `use = "package.module:load"` is allowed.
    """

    def __init__(self, run: RunFolder, *, weights: bool, plugins: bool) -> None:
        self._run = replace(run, path=run.path.resolve())
        self._weights, self._plugins = weights, plugins
        self._count = 0
        self._models = 0
        self._hiring = threading.Lock()
        self._begun, self._unfit = False, set[str]()
        self.crew = Crew(self.hire, self.hire(()))

    def spread(self, model: Model, table: PluginTable, where: str) -> Model:
        """The same model, asked through the workers; what is neither an endpoint nor in need of weights stays here."""
        if isinstance(model, OpenAIModel):
            model.send_through(lambda pictures: open_through(self.crew, pictures), wanted)
            return model
        if not getattr(model, "hosts", ("unknown",)) and hasattr(model, "batch"):
            self._models += 1
            return Spread(model, self.crew, self._models, table, where)
        return model

    def hire(self, there: Sequence[Worker]) -> list[Worker]:
        """Start a worker on every living node that has too few; where weights are needed, one per GPU.

        Raises:
            ConfigError: at the start, a node has another version of this package. One that joins later is left out.
            ModelUnavailable: the cluster does not answer.
        """
        import ray.exceptions

        with self._hiring:
            try:
                nodes = [node for node in ray.nodes() if node["Alive"]]
            except (ray.exceptions.RayError, ConnectionError, RuntimeError) as problem:
                raise ModelUnavailable(f"the Ray cluster does not answer ({problem}); see `ray status`.") from problem
            fit = [node for node in nodes if node["NodeID"] not in self._unfit]
            gpus = {node["NodeID"]: int(node["Resources"].get("GPU", 0)) for node in fit}
            some = self._weights and any(gpus.values())
            started: list[RayWorker] = []
            for node, count in gpus.items():
                wanted_here = max(1, count) if some else 1
                have = sum(worker.node == node for worker in there)
                for _ in range(wanted_here - have):
                    started.append(self._start(node, gpu=some and count > 0, computes=count > 0 if some else True))
            ready, faults = _ready(started)
            for node, words in faults.items():
                if not self._begun:
                    raise ConfigError(words)
                self._unfit.add(node)
                _log.warning("%s The node is left out.", words)
            self._begun = True
            return ready

    def _start(self, node: str, *, gpu: bool, computes: bool) -> RayWorker:
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        self._count += 1
        actor = ray.remote(_Hands).options(
            num_cpus=0,
            num_gpus=1 if gpu else 0,
            max_restarts=0,
            max_task_retries=0,  # a call is never sent twice behind the ledger's back
            max_concurrency=AT_ONCE,
            scheduling_strategy=NodeAffinitySchedulingStrategy(node_id=node, soft=False),
        )
        return RayWorker(actor.remote(self._run, self._plugins), f"{self._count}", node, computes)

    def close(self) -> None:
        """Let the workers go."""
        import ray

        for worker in self.crew.workers:
            if isinstance(worker, RayWorker):
                with contextlib.suppress(Exception):
                    ray.kill(worker.actor)


def _ready(started: Sequence[RayWorker]) -> tuple[list[Worker], dict[str, str]]:
    """Workers that have said hello, and what is wrong with nodes that cannot have one."""
    import ray.exceptions

    greetings = {worker.actor.hello.remote(): worker for worker in started}
    if not greetings:
        return [], {}
    ready: list[Worker] = []
    faults: dict[str, str] = {}
    done, late = ray.wait(list(greetings), num_returns=len(greetings), timeout=STARTING)
    for one in late:
        ray.kill(greetings[one].actor)
    for one in done:
        worker = greetings[one]
        try:
            version = ray.get(one)
        except ray.exceptions.RayTaskError as problem:
            faults[worker.node] = f"a worker on node {worker.node} cannot start: {problem.cause}."
            continue
        except ray.exceptions.RayError as problem:
            _log.warning("a worker on node %s could not be started: %s", worker.node, problem)
            continue
        if version == __version__:
            ready.append(worker)
        else:
            faults[worker.node] = (
                f"node {worker.node} has vlfeedback {version}, this one {__version__}: install the same everywhere."
            )
    return ready, faults


def _noted() -> Path:
    """Where `ray start` writes the address of its cluster, and Ray looks for one that runs on this machine."""
    own = os.environ.get("TMPDIR") if sys.platform == "linux" else None
    return Path(os.environ.get("RAY_TMPDIR") or own or "/tmp", "ray", "ray_current_cluster")


def _require_answer() -> None:
    """Ray itself waits without end for a cluster that is gone.

    Raises:
        ModelUnavailable: a cluster is named, and nothing answers there.
    """
    named, by = os.environ.get("RAY_ADDRESS", ""), "RAY_ADDRESS"
    if named in ("", "auto"):
        try:
            named, by = _noted().read_text(encoding="utf-8").strip(), "the last `ray start`"
        except OSError:
            return
    host, _, port = named.rpartition(":")
    if "://" in named or not port.isdecimal():
        return  # through Ray's client, or no address: both end soon and with words
    try:
        socket.create_connection((host.strip("[]"), int(port)), ANSWERING).close()
    except (OSError, OverflowError) as problem:
        raise ModelUnavailable(
            f"no Ray cluster answers at {named} ({problem}), which {by} names. Start it again; or, for a cluster of "
            "this machine alone, unset RAY_ADDRESS and forget the one that is gone with `ray stop`."
        ) from problem


@contextlib.contextmanager
def engine(run: RunFolder, *, plugins: bool = False) -> Generator[Engine]:
    """Join the cluster that RAY_ADDRESS names or that runs on this machine, or make one of this machine alone.

    Raises:
        ConfigError: Ray is not installed, the ledger lies on a network file system, or a node cannot be used.
        ModelUnavailable: the cluster cannot be reached, or no worker can be started.
    """
    # Ray tells on stdout of a node that it has lost, amid the results of a command.
    with contextlib.redirect_stdout(sys.stderr), _joined(run, plugins) as opened:
        yield opened


@contextlib.contextmanager
def _joined(run: RunFolder, plugins: bool) -> Generator[Engine]:
    if importlib.util.find_spec("ray") is None:
        raise ConfigError("--engine ray needs Ray: pip install 'vlfeedback[scale]', on every node.")
    require_local(run.ledger_path)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing about a run is told to anybody
    import ray

    mine = not ray.is_initialized()
    with signals.kept():  # Ray puts its own handlers in place of those that drain what is under way
        try:
            if mine:
                _require_answer()
                ray.init(log_to_driver=False, include_dashboard=False, logging_level=logging.ERROR)
        except (ConnectionError, RuntimeError, ValueError, OSError) as problem:
            raise ModelUnavailable(f"the Ray cluster cannot be joined ({problem}); see RAY_ADDRESS.") from problem
    tables = (*run.settings.pool, *run.settings.judge)
    try:
        opened = Engine(run, weights=any(table.use != "openai" for table in tables), plugins=plugins)
        try:
            if not opened.crew.workers:
                raise ModelUnavailable("no worker could be started on the Ray cluster; see `ray status`.")
            yield opened
        finally:
            opened.close()
    finally:
        if mine:
            with signals.kept():
                ray.shutdown()
