"""A picture in a body is base64 to the last letter, whoever encodes it, and is never lost by joining."""

from __future__ import annotations

import base64
import os

import pytest

from vlfeedback.models import _base64
from vlfeedback.models._base64 import ENCODED, Base64, whole

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


def test_a_picture_cannot_be_joined_by_mistake() -> None:
    with pytest.raises(TypeError):
        b"".join([b"{", Base64(b"picture")])  # pyright: ignore[reportCallIssue, reportArgumentType]
