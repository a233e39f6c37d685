"""Questions sent as provider batches (files and batches endpoints): half the price, an answer within a day.

Questions are spooled into shards on disk, bounded in bytes and number. A shard is in the journal beside the ledger
before it is uploaded, and its batch carries the shard's name: a process that was killed at any moment finds its batches
again, by their id or by that name, and waits for them instead of buying anew. What a batch leaves unanswered is asked
live.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from vlfeedback.errors import LedgerError, ModelUnavailable, Stopped, VLFeedbackError
from vlfeedback.flow import interrupted
from vlfeedback.ids import call_key, hash_id
from vlfeedback.models._batch_desk import Desk, passing, queue_full
from vlfeedback.models._batch_journal import Journal, Shard
from vlfeedback.models._batch_lines import Lines
from vlfeedback.models._sends import NotBatched, Unsent
from vlfeedback.models.openai import OpenAIModel
from vlfeedback.records import Generation, Request

if TYPE_CHECKING:
    from openai import AsyncOpenAI

log = logging.getLogger(__name__)

SHARD_BYTES = 190_000_000
"""Bytes of a shard: providers take 200 MB per file."""

SHARD_CALLS = 50_000
LINGER = 5.0
"""Seconds without a further question after which a shard is sent as it is."""

POLL = 20.0
"""Seconds between two looks at a batch."""

ENDED = frozenset({"completed", "expired", "cancelled", "failed"})
LEFT = "Stopped. Batches that were sent go on at the provider: the next run fetches them."
BEGUN = ENDED - {"failed"} | {"in_progress", "finalizing", "cancelling"}
"""A batch that got past the provider's first look; until then its questions may have to be sent again."""

QUEUE_WAIT = 600.0
"""Seconds after which a batch that found the provider's queue full is sent again, if none of ours has ended before."""

QUEUE_TRIES = 24
"""How often in a row that may be in vain: four hours."""

FETCHES = 3
"""How often the files of a batch are fetched that lack something."""

LOOKS = 8
"""Looks in a row that may fail before the run gives up; the batches go on at the provider."""


@dataclass
class _Spool:
    """The shard that is being filled."""

    path: Path
    keys: list[str] = field(default_factory=list[str])
    size: int = 0
    last: float = 0.0


class Batched:
    """An endpoint's model whose questions go into batches; wrap it in the ledger.

    Args:
        live: The model; it gives bodies and connection, and answers what a batch does not.
        journal: Folder for shards that are under way.
        done: Which of some keys are answered in the ledger already.
        poll: Seconds between two looks at a batch.
        linger: Seconds to wait for company.
        fetching: Nothing is put into a batch any more: what lies in one is fetched, because it is paid for.
    """

    def __init__(
        self,
        live: OpenAIModel,
        journal: Path,
        done: Callable[[list[str]], set[str]],
        *,
        poll: float | None = None,
        linger: float | None = None,
        shard_bytes: int | None = None,
        shard_calls: int | None = None,
        fetching: bool = False,
    ) -> None:
        self._fetching = fetching
        self.live, self.recipe = live, live.recipe
        self._journal = Journal(journal, live.identity)
        self._poll, self._linger = poll or POLL, linger or LINGER
        self._most_bytes, self._most_calls = shard_bytes or SHARD_BYTES, shard_calls or SHARD_CALLS
        self._waiting: dict[str, asyncio.Future[Generation]] = {}
        self._found: dict[str, Generation | None] = {}
        self._adopted: set[str] = set()
        self._unsure: set[str] = set()
        self._broken: dict[str, Callable[[], Exception]] = {}
        self._spool: _Spool | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._ticking: asyncio.Task[None] | None = None
        self._client: AsyncOpenAI | None = None
        self._desk, self._ends = Desk(self._open), 0
        self._left: list[Shard] = []
        for shard, keys in self._journal.left(done):
            self._left.append(shard)
            self._adopted |= keys
        self._killed = {shard.name for shard in self._left if not shard.batch}
        if fetching and self._left:
            names = ", ".join(shard.batch or "without an id yet" for shard in self._left)
            log.warning(
                "%s: %d questions of an earlier run lie in batches (%s). They are fetched, not bought again, although "
                "batch = true is not set any more, and the run waits for them; everything else is asked now. To give "
                "them up, delete %s.",
                self.identity, len(self._adopted), names, self._journal.folder,
            )  # fmt: skip

    @property
    def identity(self) -> str:
        return self.live.identity

    def takes(self, key: str) -> bool:
        """Whether a question is to be asked here."""
        return not self._fetching or key in self._adopted

    def adopts(self, key: str) -> bool:
        """Whether a batch of an earlier process holds this question: its money is set aside already."""
        return key in self._adopted

    async def answer(self, request: Request) -> Generation:
        """The reply, when its batch is there.

        Raises:
            NotBatched: its batch ended without it.
            ModelUnavailable: the endpoint refuses batches.
            Stopped: the user asked to stop; the next run goes on waiting.
        """
        key = call_key(self.identity, request)
        self._start()
        if key in self._broken:  # its shard failed before the question was put
            raise self._broken.pop(key)()
        if key not in self._found:
            self._waiting[key] = asyncio.get_running_loop().create_future()
            if key not in self._adopted:
                self._add(key, request)
            try:
                await self._waiting[key]
            finally:
                self._waiting.pop(key, None)
        found = self._found.pop(key)
        self._adopted.discard(key)
        unsure = key in self._unsure
        self._unsure.discard(key)
        if found is None:
            raise NotBatched(unsure=unsure)
        return found

    def settled(self, key: str) -> None:
        """The reply is committed; a shard is forgotten when all of its replies are."""
        self._journal.settled(key)

    # ── Filling and sending shards ──

    def _add(self, key: str, request: Request) -> None:
        spool = self._spool
        if spool is None:
            spool = self._spool = _Spool(self._journal.spool(key))
        head = b'{"custom_id":"%s","method":"POST","url":"/v1/chat/completions","body":' % key.encode()
        line = b"".join([head, *self.live.body(request), b"}\n"])
        if spool.keys and spool.size + len(line) > self._most_bytes:
            self._close()
            return self._add(key, request)
        try:
            with spool.path.open("ab") as file:
                file.write(line)
        except OSError as error:
            raise LedgerError(f"{spool.path} cannot be written ({error}): free some space and run again.") from error
        spool.keys.append(key)
        spool.size += len(line)
        spool.last = time.monotonic()
        if len(spool.keys) >= self._most_calls:
            self._close()
        return None

    def _close(self) -> None:
        """Send the shard that is being filled."""
        spool, self._spool = self._spool, None
        if spool is None or not spool.keys:
            return
        shard = Shard(hash_id("shard", *sorted(spool.keys)), self.identity, spool.keys)
        try:
            spool.path.replace(self._journal.lines(shard))
            self._journal.write(shard)
        except OSError as error:
            words = f"{self._journal.lines(shard)} cannot be written ({error}): free some space and run again."
            self._fail(spool.keys, lambda: LedgerError(words))
            return
        self._follow(shard)

    def _start(self) -> None:
        for shard in self._left:
            self._follow(shard)
        self._left = []
        if self._ticking is None or self._ticking.done():
            self._ticking = asyncio.get_running_loop().create_task(self._tick())

    async def _tick(self) -> None:
        """Send what has waited long enough, and let everybody go when the user wants to stop."""
        while self._waiting:
            await asyncio.sleep(min(0.2, self._linger / 2))
            if interrupted():
                for task in self._tasks:
                    task.cancel()
                spooled = self._spool.keys if self._spool is not None else []
                self._fail(spooled, lambda: Unsent("Stopped before the batch was sent."))
                self._spool = None
                self._fail(list(self._waiting), lambda: Stopped(LEFT))
            elif self._spool is not None and time.monotonic() - self._spool.last >= self._linger:
                self._close()

    # ── Following a shard to its end ──

    def _follow(self, shard: Shard) -> None:
        task = asyncio.get_running_loop().create_task(self._run(shard))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, shard: Shard) -> None:
        import openai

        try:
            batch = await self._through(shard)
            if batch is None:
                self._journal.forget(shard.name)
                self._hand_out(shard, dict.fromkeys(shard.keys))
                return
            self._ends += 1
            await self._fetch(shard, batch)
        except Exception as problem:  # whatever it is, nobody may go on waiting for it
            told = self.live.secret.scrub(f"{type(problem).__name__} {problem}")[:400]
            words = f"batch {shard.batch or shard.name} of {self.identity}: {told}"
            advice = "Run again: what was sent is fetched, not bought again."
            if isinstance(problem, openai.NotFoundError):
                what, note = "is gone for good" if shard.batch else "was never made", self._journal.note(shard)
                advice += f" If the batch {what}, delete {note}: its questions are asked anew then."
            self._fail(shard.keys, lambda: VLFeedbackError(f"{words}. {advice}"))

    async def _through(self, shard: Shard) -> Any:
        """The batch of a shard when it has ended; where the provider's queue was full, it is sent once more.

        None where nothing is put into batches any more and the provider has none of it.
        """
        tries = 0
        while True:
            if not shard.batch:
                # Made just before this process's predecessor was killed?
                known = await self._desk.named(shard.name) if shard.name in self._killed else ""
                if not known and self._fetching:
                    return None
                shard.batch = known or await self._desk.send(self._journal.lines(shard), shard.name)
                self._journal.write(shard)
            batch, ends = await self._ended(shard), self._ends
            may_again = queue_full(batch) and not self._fetching and tries < QUEUE_TRIES
            if not may_again or not self._journal.lines(shard).exists():
                return batch
            log.info("batch %s of %s waits for room in the provider's queue", shard.batch, self.identity)
            shard.batch = ""
            self._journal.write(shard)
            until = time.monotonic() + QUEUE_WAIT
            while self._ends == ends and time.monotonic() < until:
                await asyncio.sleep(min(self._poll, QUEUE_WAIT))
            tries = 0 if self._ends > ends else tries + 1

    async def _ended(self, shard: Shard) -> Any:
        failures = 0
        while True:
            try:
                batch = await self._desk.look(shard.batch)
                failures = 0
                if batch.status in BEGUN:
                    self._journal.lines(shard).unlink(missing_ok=True)
                if batch.status in ENDED:
                    return batch
            except Exception as problem:
                failures += 1
                if failures >= LOOKS or not passing(problem):
                    raise
            await asyncio.sleep(self._poll)

    async def _fetch(self, shard: Shard, batch: Any) -> None:
        lines = await self._read(shard, batch)
        if batch.status == "failed" and not any(lines.found.values()):
            errors = cast("list[Any]", getattr(batch.errors, "data", None) or [])
            words = "; ".join(str(one.message) for one in errors) or "no reason was given"
            self._journal.forget(shard.name)
            self._fail(
                shard.keys, lambda: ModelUnavailable(f"the endpoint refuses a batch of {self.identity}: {words}")
            )
            return
        self._doubt(shard, lines.doubtful)
        self._hand_out(shard, lines.found)

    async def _read(self, shard: Shard, batch: Any) -> Lines:
        """What a batch gave back; files that lack what the batch is said to have answered are fetched again."""
        for fetched in range(1, FETCHES + 1):
            lines = Lines(shard.keys, self.live.secret.scrub_body)
            for name in (batch.output_file_id, batch.error_file_id):
                if name:
                    lines.take(await self._desk.text(name))
            if lines.whole(_told(batch, len(shard.keys))) or fetched == FETCHES:
                return lines
            log.info("the files of batch %s of %s are not whole; they are fetched again", shard.batch, self.identity)
            await asyncio.sleep(self._poll)
            batch = await self._ended(shard)
        raise AssertionError("unreachable")

    def _hand_out(self, shard: Shard, found: dict[str, Generation | None]) -> None:
        self._found |= found
        for key in shard.keys:
            future = self._waiting.get(key)
            if future is not None and not future.done():
                future.set_result(_NOTHING)

    def _doubt(self, shard: Shard, lost: set[str]) -> None:
        if lost:
            self._unsure |= lost
            log.warning(
                "batch %s of %s: %d of %d calls came back with nothing that can be read. They are asked live, and what "
                "they cost at most in the batch counts as spent.",
                shard.batch, self.identity, len(lost), len(shard.keys),
            )  # fmt: skip

    def _fail(self, keys: list[str], error: Callable[[], Exception]) -> None:
        for key in keys:
            future = self._waiting.get(key)
            if future is None:
                self._broken[key] = error
            elif not future.done():
                future.set_exception(error())

    def _open(self) -> AsyncOpenAI:
        if self._client is None:
            self._client = self.live.connect()
        return self._client


def _told(batch: Any, calls: int) -> int:
    """Of how many calls an ended batch has something to say, by its own words."""
    if batch.status == "completed":
        return calls
    counts = batch.request_counts
    return min(calls, (counts.completed or 0) + (counts.failed or 0)) if counts is not None else 0


_NOTHING = Generation("", "stop")
