"""What travels between the head and a worker: a request's body without its pictures, and what came back.

A worker is a way to an endpoint that reads and encodes the pictures itself: megabytes are moved where they are sent
from, and the head handles a few kilobytes of text per call.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

from vlfeedback.errors import VLFeedbackError
from vlfeedback.images import Roots
from vlfeedback.models._base64 import Base64, whole
from vlfeedback.models._pictures import Addresses
from vlfeedback.models._secrets import Secret
from vlfeedback.models._wire import Lost, NotSent, Wire, open_wire
from vlfeedback.records import Image


class Picture(NamedTuple):
    """A picture to be put into a body by whoever sends it."""

    image: Image
    recipe: str


class Wanted(bytes):
    """The place of a picture in the pieces of a body; as bytes it is empty."""

    picture: Picture


def wanted(image: Image, recipe: str) -> tuple[bytes, ...]:
    """An address in pieces, as `Addresses.address` gives it, that is filled in later."""
    place = Wanted()
    place.picture = Picture(image, recipe)
    return (place,)


Piece = bytes | Picture


def packed(content: Sequence[bytes | Base64]) -> tuple[Piece, ...]:
    """A body as few pieces: the text between two pictures in one."""
    found: list[Piece] = []
    text: list[bytes] = []
    for piece in content:
        if isinstance(piece, Wanted):
            found += [b"".join(text), piece.picture]
            text = []
        else:
            text.append(whole(piece))
    return (*found, b"".join(text))


def filled(pieces: Iterable[Piece], pictures: Addresses) -> list[bytes]:
    """The body with its pictures.

    Raises:
        ImageError: a picture cannot be opened or prepared here.
    """
    content: list[bytes] = []
    for piece in pieces:
        content += pictures.address(piece.image, piece.recipe) if isinstance(piece, Picture) else [piece]
    return content


def part_of(pieces: Iterable[Piece]) -> str:
    """What decides which worker sends a body: its first picture, which one worker then encodes once; else its text."""
    text = b""
    for piece in pieces:
        if isinstance(piece, Picture):
            return piece.image.sha256
        text += piece
    return hashlib.sha256(text).hexdigest()


def owner(part: str, workers: Sequence[str]) -> str:
    """The worker of a part by the highest hash: where one is lost, only its own parts move, evenly to the others.

    Args:
        part: See `part_of`.
        workers: Names, at least one, in any order.
    """
    return max(workers, key=lambda worker: hashlib.sha256(f"{worker}\n{part}".encode()).digest())


class Parcel(NamedTuple):
    """One sending of one call.

    Attributes:
        pieces: The body; pictures are filled in by the worker.
        in_flight: Connections that the endpoint may need, calls.
        timeout: Seconds from sending to the last byte.
    """

    url: str
    key: Secret
    in_flight: int
    timeout: float
    pieces: tuple[Piece, ...]


class Carried(NamedTuple):
    """What became of a parcel.

    Attributes:
        kind: `reply`, or why there is none; `picture`: the worker cannot read a picture, and has sent nothing.
        text: Body of the reply, or words.
    """

    kind: Literal["reply", "not_sent", "lost", "timeout", "picture"]
    text: str
    status: int = 0
    headers: Mapping[str, str] = {}


KEPT_HEADERS = ("date", "location", "retry-after", "retry-after-ms")
"""All that is read of a reply's headers."""


class Carrier:
    """The worker's side: fills in pictures, sends, and says what came back. Belongs to one event loop.

    Args:
        roots: Where pictures lie on this machine.
    """

    def __init__(self, roots: Roots) -> None:
        self._pictures = Addresses(roots, "data")
        self._wires: dict[tuple[str, str, int, float], Wire] = {}

    async def post(self, parcel: Parcel) -> Carried:
        """Send one parcel; what goes wrong is a value."""
        try:
            content = filled(parcel.pieces, self._pictures)
        except (VLFeedbackError, OSError) as problem:
            return Carried("picture", str(problem))
        # Models behind one address each have their own, as in one process: key, time and connections are a model's.
        way = (parcel.url, parcel.key.reveal(), parcel.in_flight, parcel.timeout)
        wire = self._wires.get(way)
        if wire is None:
            wire = self._wires[way] = open_wire(parcel.url, parcel.key, parcel.in_flight, parcel.timeout)
        try:
            reply = await wire.post(content)
        except TimeoutError:
            return Carried("timeout", "")
        except NotSent as problem:
            return Carried("not_sent", str(problem))
        except Lost as problem:
            return Carried("lost", str(problem))
        headers = {name: value for name in KEPT_HEADERS if (value := reply.headers.get(name)) is not None}
        return Carried("reply", reply.text, reply.status, headers)
