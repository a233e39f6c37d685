"""Rows of the ledger: what goes into its columns, and the way back; bulky texts are compressed."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any, NamedTuple, cast

import orjson

from vlfeedback.compact import compact, storable
from vlfeedback.records import Call, Generation, Purpose, TokenLogprobs, Usage

MOST = 1 << 60
"""Largest number of tokens that is kept: an endpoint's nonsense must not stop the commit of what others replied."""

LEAST_LOGPROB = -9999.0
"""Stands for the logarithm of zero, as in OpenAI's replies: no number of JSON is infinite."""

LEAST_SHARED = 1024
"""Letters of the end of a question from which on it is worth keeping it compressed."""

_AFTER_PARTS = '],"recipe":'
_RAW = -zlib.MAX_WBITS
_LITTLE = 5
"""zlib's `memLevel`. With the usual 8 each compressor takes and gives back so much memory that a text of a thousand
letters takes five times as long; what comes out is as long within a hundredth.
"""
_ZLIB = b"\x78\x01"


class Intent(NamedTuple):
    """A call about to be sent; `reserved` is an upper bound of its cost.

    `request` is the question, or the bytes that are kept of it.
    """

    key: str
    model: str
    request: str | bytes
    purpose: Purpose
    reserved: float

    def packed(self) -> Intent:
        """The same with what is kept of the question.

        zlib lets go of the interpreter. In the thread that commits, which has to wait for it each time, that took
        longer than to compress; whoever has the interpreter anyway does it on the way there.
        """
        return self._replace(request=squeeze_question(self.request)) if isinstance(self.request, str) else self


class Settled(NamedTuple):
    """The end of a call: its reply (or the class of its failure) and its price.

    `counted` of its sends were written down by further intents while it was under way; `kept` is what is kept of the
    reply, where that is made already.
    """

    key: str
    generation: Generation
    cost: float
    counted: int = 0
    kept: tuple[bytes | str, bytes | str | None] | None = None

    def packed(self) -> Settled:
        """The same with what is kept of the reply; see `Intent.packed`."""
        return self._replace(kept=bodies_of(self.generation)) if self.kept is None else self


@dataclass(frozen=True, slots=True)
class Total:
    """Sums over the calls of one model for one purpose in one state.

    Attributes:
        calls: Questions.
        attempts: Times they were sent; above `calls` where something was asked again.
        unsure: Sends whose fate is unknown (killed, timed out, reset): they may have been billed.
        cost: Price of replies; for open intents what is reserved.
        lost_cost: Upper bound of what the unsure sends cost.
    """

    model: str
    purpose: Purpose
    state: str
    calls: int
    attempts: int
    unsure: int
    usage: Usage
    cost: float
    lost_cost: float


def squeeze(text: str) -> bytes | str:
    """A text as it is kept: compressed where that saves space."""
    if len(text) < 400 and text.isascii():
        return text  # compressing a line costs more time than it saves space
    packer = _packer(zlib.MAX_WBITS)
    return packer.compress(text.encode("utf-8", "surrogatepass")) + packer.flush()


def squeeze_question(text: str) -> bytes | str:
    """The same of a question, whose longer half, the rubric, is that of the questions before it: compressed once.

    What comes out is an ordinary zlib stream: blocks of the parts up to a byte's end, then blocks that refer to nothing
    before them, then the checksum of both.
    """
    at = text.find(_AFTER_PARTS)  # a quotation mark within a part has a backslash before it
    if len(text) - at < LEAST_SHARED or at < 0:
        return squeeze(text)
    parts, shared = text[:at].encode("utf-8", "surrogatepass"), text[at:]
    plain, blocks = _shared_blocks(shared)
    packer = _packer(_RAW)
    own = packer.compress(parts) + packer.flush(zlib.Z_FULL_FLUSH)
    return b"".join((_ZLIB, own, blocks, zlib.adler32(plain, zlib.adler32(parts)).to_bytes(4, "big")))


@lru_cache(maxsize=64)
def _shared_blocks(text: str) -> tuple[bytes, bytes]:
    """The end of a question as UTF-8, and as the last blocks of a stream."""
    plain = text.encode("utf-8", "surrogatepass")
    packer = _packer(_RAW)
    return plain, packer.compress(plain) + packer.flush(zlib.Z_FINISH)


def _isal() -> Any:
    """ISA-L, where it is installed: the same format in half to a third of the time; short texts become longer."""
    try:
        from isal import isal_zlib
    except ImportError:
        return None
    return isal_zlib


_fast = _isal()


def _packer(window: int) -> Any:
    if _fast is not None:
        return _fast.compressobj(0, _fast.DEFLATED, window)  # 0 is its quickest, and not "stored" as in zlib
    return zlib.compressobj(1, zlib.DEFLATED, window, _LITTLE)


def expand(stored: bytes | str | None) -> str:
    """The text that was squeezed; empty where there is none."""
    if isinstance(stored, bytes):
        return zlib.decompress(stored).decode("utf-8", "surrogatepass")
    return stored or ""


_REPLY_FIELDS = tuple(f.name for f in fields(Generation) if f.name not in {"raw", "usage", "logprobs"})
_USAGE_FIELDS = tuple(f.name for f in fields(Usage))


def _reply_json(generation: Generation) -> str:
    found: dict[str, Any] = {name: getattr(generation, name) for name in _REPLY_FIELDS}
    if generation.logprobs is not None:
        found["logprobs"] = [[one.token, one.logprob, one.top] for one in generation.logprobs]
    return compact(found).decode("utf-8", "surrogatepass")


def _parsed(text: bytes | str) -> dict[str, Any]:
    """What `_reply_json` wrote; `orjson` refuses halves of characters and numbers that are none."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        whole = text.decode("utf-8", "surrogatepass") if isinstance(text, bytes) else text
        kept = cast("dict[str, Any]", json.loads(whole))
        return {**kept, "detail": storable(kept.get("detail", ""))}  # texts stay as they are: ids are made of them


def _number(kept: float | None) -> float:
    """A logarithm of a probability; JSON knows no infinity, and the one that there is stands for zero."""
    return LEAST_LOGPROB if kept is None else kept


def generation_of(reply: bytes | str | None, raw: bytes | str | None, usage: Usage) -> Generation | None:
    """A reply out of its columns; None where none was kept."""
    if reply is None:
        return None
    found = _parsed(zlib.decompress(reply) if isinstance(reply, bytes) else reply)
    logprobs = found.pop("logprobs", None)
    if logprobs is not None:
        logprobs = tuple(TokenLogprobs(t, _number(p), tuple((a, _number(b)) for a, b in top)) for t, p, top in logprobs)
    return Generation(**found, raw=expand(raw), usage=usage, logprobs=logprobs)


def call_columns(done: Settled, now: float) -> dict[str, Any]:
    """Columns of a settled call, by name; `now` in seconds since 1970."""
    generation = done.generation
    return {
        "key": done.key,
        "state": "done" if generation.answered else "failed",
        "finish": generation.finish,
        "error": generation.error,
        "cost": done.cost,
        "sent": generation.sent - done.counted,
        "unsure": generation.unsure - done.counted,
        "now": now,
        # No `asdict`: it copies deeply.
        **{name: max(0, min(getattr(generation.usage, name), MOST)) for name in _USAGE_FIELDS},
    }


def bodies_of(generation: Generation) -> tuple[bytes | str, bytes | str | None]:
    """What is kept of a reply beside its counts: itself, and the body as received."""
    return squeeze(_reply_json(generation)), squeeze(generation.raw) if generation.raw else None


def total_of(row: Sequence[Any]) -> Total:
    """Sums out of a row of the grouping statement."""
    model, purpose, state, calls, attempts, unsure, *usage, cost, lost_cost = row
    return Total(model, purpose, state, calls, attempts, unsure, Usage(*usage), cost, lost_cost)


def call_of(row: Sequence[Any]) -> Call:
    """A call out of its row."""
    key, model, request, purpose, reply, raw, cost, state, attempts, created, finished, *usage = row
    generation = generation_of(reply, raw, Usage(*usage))
    return Call(key, model, expand(request), purpose, generation, cost, state, attempts, created, finished)


def reply_of(row: Sequence[Any]) -> Generation | None:
    """The reply of a row of key, reply, raw and usage."""
    _, reply, raw, *usage = row
    return generation_of(reply, raw, Usage(*usage))
