"""A picture in a body is base64 to the last letter, whoever encodes it, and is never lost by joining."""

from __future__ import annotations

import base64
import os

import pytest

from vlfeedback.models import _base64
from vlfeedback.models._base64 import ENCODED, Base64, Piece, whole
from vlfeedback.models._wire import PIECE, SMALL, chunks

SIZES = (0, 1, 2, 3, ENCODED - 1, ENCODED, ENCODED + 1, 3 * ENCODED + 2)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("fallback", [False, True])
def test_pieces_give_the_whole(size: int, fallback: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if fallback:
        monkeypatch.setattr(_base64, "_encode", _base64._binascii)
    data = os.urandom(size)
    piece = Base64(data)
    assert whole(piece) == base64.b64encode(data)
    assert len(piece) == len(whole(piece)), "the length of a body is told before it is sent"


@pytest.mark.parametrize("sizes", [(), (10,), (150_000, 30), (SMALL,), (ENCODED + 5, 7), (10, 3 * ENCODED)])
def test_a_body_goes_out_in_few_pieces_that_give_the_whole(sizes: tuple[int, ...]) -> None:
    content: list[Piece] = [b"{" * 5000]
    for size in sizes:
        content += [Base64(os.urandom(size)), b'"},', b"text" * 500]
    sent = [bytes(chunk) for chunk in chunks(content)]
    assert b"".join(sent) == b"".join(map(whole, content))
    length = sum(map(len, content))
    assert max(map(len, sent)) <= PIECE
    assert len(sent) <= 1 + 3 * len(sizes) + length // PIECE, "a system call each"


def test_a_picture_cannot_be_joined_by_mistake() -> None:
    with pytest.raises(TypeError):
        b"".join([b"{", Base64(b"picture")])  # pyright: ignore[reportCallIssue, reportArgumentType]
