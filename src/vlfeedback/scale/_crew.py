"""The workers that are there, which of them gets a call, and what the loss of one means."""

from __future__ import annotations

import asyncio
import logging
import platform
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, NamedTuple, Protocol, cast

from vlfeedback import errors
from vlfeedback.config import PluginTable
from vlfeedback.errors import ConfigError, ModelUnavailable, VLFeedbackError
from vlfeedback.models import Model
from vlfeedback.models._base64 import Base64
from vlfeedback.models._pictures import Addresses
from vlfeedback.models._secrets import Secret
from vlfeedback.models._wire import Lost, NotSent, Opening, Reply, Wire
from vlfeedback.records import Generation, Request
from vlfeedback.scale._parcels import Carried, Parcel, Piece, filled, owner, packed, part_of

log = logging.getLogger(__name__)

LOOK = 10.0
"""Seconds between two looks whether a node has joined, or a worker is to be replaced."""


LOSSES = 3
"""Workers that one question to a local model may lose: whoever computes it may be what ends them."""


class Told(NamedTuple):
    """An error of the package that a worker's model raised, by name: not every exception survives being pickled."""

    error: str
    words: str


class Named(NamedTuple):
    """A local model, as a worker is told of it.

    Attributes:
        number: Of the model in this command.
        table: How a worker makes it.
        where: The table's name, for messages.
        identity: Who it has to be.
    """

    number: int
    table: PluginTable
    where: str
    identity: str


class WorkerGone(Exception):
    """A worker, or its whole node, was lost with what it had in flight."""


class Worker(Protocol):
    """Somebody who carries parcels and holds weights; every method raises `WorkerGone` where it is lost.

    Attributes:
        name: Of its own, never used again.
        node: Where it runs.
        computes: Whether it holds weights.
    """

    name: str
    node: str
    computes: bool

    async def post(self, parcel: Parcel) -> Carried: ...

    async def ask(self, named: Named, request: Request) -> Generation | Told: ...

    async def release(self, number: int) -> None: ...


class Holder:
    """A worker's side of local models: loads a model with its first question, and lets go of it when told to.

    Args:
        make: A model as its plug-in makes it.
    """

    def __init__(self, make: Callable[[PluginTable, str], Model]) -> None:
        self._make = make
        self._models: dict[int, Model] = {}

    async def ask(self, named: Named, request: Request) -> Generation | Told:
        """Answer together with the other questions that are outstanding here."""
        try:
            if named.number not in self._models:
                self._models[named.number] = self._made(named)
            return await self._models[named.number].answer(request)
        except VLFeedbackError as problem:
            return Told(type(problem).__name__, str(problem))

    def _made(self, named: Named) -> Model:
        """The model, if it is the one that the head names: at the same path other weights can lie on this node.

        Raises:
            ConfigError: it is another one.
        """
        model = self._make(named.table, named.where)
        if model.identity != named.identity:
            raise ConfigError(
                f"{named.where}: on node {platform.node()} it is {model.identity}, and {named.identity} on the head; "
                "put the same files on every node, in folders of one name"
            )
        return model

    async def release(self, number: int) -> None:
        """Give back the memory of a model."""
        close: Callable[[], None] | None = getattr(self._models.pop(number, None), "close", None)
        if close is not None:
            await asyncio.to_thread(close)


class Crew:
    """The workers of a command.

    Args:
        hire: Starts a worker on every node that should have one and has none, given the names of those that are there.
        workers: Those that are there at first.
    """

    def __init__(self, hire: Callable[[Sequence[Worker]], Sequence[Worker]], workers: Iterable[Worker]) -> None:
        self._hire = hire
        self._there = {worker.name: worker for worker in workers}
        self._looked = time.monotonic()
        self._looking: asyncio.Task[None] | None = None
        self.lost = 0

    @property
    def workers(self) -> tuple[Worker, ...]:
        """Those that are there."""
        return tuple(self._there.values())

    def add(self, workers: Iterable[Worker]) -> None:
        """More workers."""
        self._there.update((worker.name, worker) for worker in workers)

    async def pick(self, part: str, *, computing: bool = False) -> Worker:
        """Whose part it is.

        Args:
            part: See `part_of`.
            computing: Only workers that hold weights.
        Raises:
            WorkerGone: nobody is left, and nobody could be hired.
        """
        if time.monotonic() - self._looked > LOOK:
            self._look()
        names = self._names(computing)
        if not names:
            await asyncio.shield(self._look())
            names = self._names(computing)
        if not names:
            raise WorkerGone("no worker of the cluster is left")
        return self._there[owner(part, names)]

    def dismiss(self, worker: Worker) -> None:
        """A worker is lost: its parts go to the others."""
        if self._there.pop(worker.name, None) is not None:
            self.lost += 1
            log.warning("a worker on node %s is lost; its instructions go to the other workers", worker.node)

    def _names(self, computing: bool) -> list[str]:
        return [name for name, worker in self._there.items() if worker.computes or not computing]

    def _look(self) -> asyncio.Task[None]:
        """Look for nodes without a worker; one look at a time, so that nobody is hired twice."""
        if self._looking is None or self._looking.done():
            self._looked = time.monotonic()
            self._looking = asyncio.get_running_loop().create_task(self._hired())
        return self._looking

    async def _hired(self) -> None:
        try:
            self.add(await asyncio.to_thread(self._hire, self.workers))
        except VLFeedbackError as problem:  # the workers that are there go on
            log.warning("%s", problem)


class CrewWire:
    """A way to an endpoint through whichever worker the call's part belongs to; see `models._wire.Wire`.

    Everything about the endpoint stays with the caller: its pace, its rests, how much it bears, what is asked again.
    """

    def __init__(self, crew: Crew, pictures: Addresses, url: str, key: Secret, in_flight: int, timeout: float) -> None:
        self._crew, self._pictures = crew, pictures
        self._address = (url, key, in_flight, timeout)

    async def post(self, content: Sequence[bytes | Base64]) -> Reply:
        """Send a body through a worker.

        Raises:
            NotSent, Lost, TimeoutError: there is no complete reply.
            DataError: a picture can be read neither there nor here.
            ModelUnavailable: no worker is left.
        """
        pieces = packed(content)
        part = part_of(pieces)
        async with asyncio.timeout(self._address[-1]):
            carried = await self._carry(part, pieces)
            if carried.kind == "picture":  # a node that does not see the folder: the picture travels with the call
                carried = await self._carry(part, (b"".join(filled(pieces, self._pictures)),))
        if carried.kind == "reply":
            return Reply(carried.status, carried.headers, carried.text)
        if carried.kind == "timeout":
            raise TimeoutError
        raise (Lost if carried.kind == "lost" else NotSent)(carried.text)

    async def _carry(self, part: str, pieces: tuple[Piece, ...]) -> Carried:
        try:
            worker = await self._crew.pick(part)
        except WorkerGone as problem:
            raise ModelUnavailable(f"{problem}; what was answered is kept: run again") from None
        try:
            return await worker.post(Parcel(*self._address, pieces))
        except WorkerGone as problem:
            self._crew.dismiss(worker)
            lost = Lost(f"the worker that sent this is lost ({problem})")
            lost.endpoint = False  # nothing of this is the endpoint's fault
            raise lost from None

    async def close(self) -> None:
        """The connections are the workers', who end with the command."""


class Spread:
    """A local model whose weights lie on many workers at once; see `models.Model`.

    A question goes to one of them; replies do not depend on which. A lost worker's questions are put to another: they
    cost nothing.

    Args:
        inner: The model as it is here; it never loads its weights.
        number: Of the model in this command.
        table: How a worker makes it, `where` for messages.
    """

    hosts: tuple[str, ...] = ()
    local = True

    def __init__(self, inner: Model, crew: Crew, number: int, table: PluginTable, where: str) -> None:
        self.inner, self._crew, self._asked = inner, crew, Named(number, table, where, inner.identity)
        self.identity = inner.identity
        self.recipe: str = getattr(inner, "recipe", "original")

    @property
    def batch(self) -> int:
        """Questions that all workers take in one pass."""
        computing = sum(worker.computes for worker in self._crew.workers)
        return int(getattr(self.inner, "batch", 32)) * max(1, computing)

    async def answer(self, request: Request) -> Generation:
        """Ask the worker whose part this is.

        Raises:
            ModelUnavailable: it cannot be loaded there, no worker is left, or `LOSSES` of them were lost with this.
        """
        images = request.images
        part = images[0].sha256 if images else part_of((repr(request.parts).encode(),))
        for _ in range(LOSSES):
            try:
                worker = await self._crew.pick(part, computing=True)
            except WorkerGone as problem:
                raise ModelUnavailable(f"{self.identity}: {problem}; what was answered is kept: run again") from None
            try:
                found = await worker.ask(self._asked, request)
            except WorkerGone:
                self._crew.dismiss(worker)
                continue
            if isinstance(found, Told):
                raise _raised(found)
            return found
        raise ModelUnavailable(
            f"{self.identity}: {LOSSES} workers in a row were lost with one question in hand. The model may need more "
            "memory than a node has: see Ray's logs on the nodes. What was answered is kept: run again"
        )

    def close(self) -> None:
        """Let every worker give back the memory."""
        from vlfeedback import flow

        flow.run(self._release())

    async def _release(self) -> None:
        number = self._asked.number
        telling: list[Awaitable[None]] = [worker.release(number) for worker in self._crew.workers if worker.computes]
        await asyncio.gather(*telling, return_exceptions=True)


def _raised(told: Told) -> VLFeedbackError:
    kind: Any = getattr(errors, told.error, VLFeedbackError)
    made = cast("VLFeedbackError", kind.__new__(kind))
    Exception.__init__(made, told.words)
    return made


def open_through(crew: Crew, pictures: Addresses) -> Opening:
    """What stands in for `open_wire`."""

    def opened(url: str, key: Secret, in_flight: int, timeout: float) -> Wire:
        return CrewWire(crew, pictures, url, key, in_flight, timeout)

    return opened
