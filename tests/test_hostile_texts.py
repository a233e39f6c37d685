"""Texts of strangers are read once: no run of blanks, signs or digits makes a pattern start again at each of them."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial

import pytest
from hypothesis import given, strategies as st

from vlfeedback.evaluate import _mmhal_result, mme, rtvlm
from vlfeedback.exchange import vlfeedback as released
from vlfeedback.source import _conversations, _fields, _leaks

MANY = 1_000_000
"""Letters: one reading takes a fraction of a second, one for each of them takes hours."""
BOUND = 30
"""Seconds, after which a test that reads again and again is ended."""


@contextmanager
def ended() -> Generator[None]:
    def give_up(*_: object) -> None:
        raise AssertionError(f"not done after {BOUND} s: the text is read again for each of its letters")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, BOUND)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def uncited(text: str) -> str:
    return released._CITATION.sub("", text)


READ: list[tuple[Callable[[str], object], str, object]] = [
    (_leaks.plain, "a" + "-" * MANY + "b", "a" + "-" * MANY + "b"),
    (_leaks.plain, "-" * MANY, "-" * MANY),
    (_fields._BASE64.fullmatch, "a" + " " * MANY + ".", None),
    (partial(_conversations.without_markers, pictures=1), "a" + " " * MANY + "b", "a" + " " * MANY + "b"),
    (partial(_conversations.without_markers, pictures=MANY), "<image> " * (MANY // 8) + "b", "b"),
    (partial(mme.worded, protocol="qwen"), "a" + " " * MANY + "b", "a" + " " * MANY + "b Answer:"),
    (rtvlm.read_score, "Score: " + "1" * MANY + " /", None),
    (lambda text: _mmhal_result.strict(text).rating, "Rating: " + "1" * MANY + " - 2", None),
    (uncited, "a" + " " * MANY + "b", "a" + " " * MANY + "b"),
    (uncited, "a " + "【††】" * 1000 + "b", "a b"),
    (released._category, "1" * MANY + "a", ""),
]


@pytest.mark.parametrize(("read", "text", "expected"), READ, ids=[str(number) for number in range(len(READ))])
def test_a_text_of_a_million_letters_is_read(read: Callable[[str], object], text: str, expected: object) -> None:
    with ended():
        assert read(text) == expected


def letters(alphabet: str, *words: str) -> st.SearchStrategy[str]:
    """Short texts of some letters and words."""
    return st.lists(st.sampled_from([*alphabet, *words]), max_size=12).map("".join)


@given(letters("a1_- !\n\u2028é"))
def test_a_question_is_bared_as_by_the_plain_rule(text: str) -> None:
    blank = " ".join(text.casefold().split())
    assert _leaks.plain(text) == (re.sub(r"^[\W_]+|[\W_]+$", "", blank) or text.casefold().strip())


@given(letters("aZ/= \n.\u00a0"))
def test_base64_is_told_from_a_path_as_by_the_plain_rule(text: str) -> None:
    plain = re.fullmatch(r"[A-Za-z0-9+/\s]+={0,2}\s*", text)
    assert (_fields._BASE64.fullmatch(text) is None) == (plain is None)


@given(letters("a \n", "Please answer yes or no."))
def test_a_request_is_cut_as_by_the_plain_rule(text: str) -> None:
    plain = re.sub(r"\s*Please answer yes or no\.\s*$", "", text)
    assert mme.worded(text, "qwen") == plain + mme.ENDINGS["qwen"]


@given(letters("15./-a %", "score:", "rating: ", " to ", "10", " of "))
def test_scores_are_found_as_by_the_plain_rule(text: str) -> None:
    score = re.compile(r"\bscore\s*[:=]\s*(\d+(?:\.\d+)?)(?:\s*(?:/|of)\s*10\b)?", re.I)
    ranges = re.compile(r"[^\n\d.;(!]{0,12}\d|\.\d|\s*[/%]")
    rating = re.compile(r"\brating\s*[:=]\s*(-?\d+(?:\.\d+)?)(\s*/\s*\d+)?(?![\w.]*\d|\s*(?:-|–|to|or)\s*\d)", re.I)
    plain = [(found[1], ranges.match(text, found.end()) is not None) for found in score.finditer(text)]
    assert [(number, bool(more)) for number, more in rtvlm._SCORE.findall(text)] == plain
    assert _mmhal_result._RATING.findall(text) == rating.findall(text)


@given(letters("a. \t\n†【】", "【1†s】", " 【†】"))
def test_citations_are_cut_as_by_the_plain_rule(text: str) -> None:
    mark = r"【[^【】\n]{0,40}†[^【】\n]{0,200}】"
    plain = re.sub(rf"[ \t]+(?:{mark})+(?=[\s.,;:!?)\]]|$)|(?:{mark})+", "", text)
    assert uncited(text) == plain


@given(letters("a1-_\n"))
def test_a_category_is_found_as_by_the_plain_rule(name: str) -> None:
    plain = re.fullmatch(r"(.+?)[-_]?\d*", name, re.ASCII)
    assert released._category(name) == (plain[1] if plain and plain[1] != name else "")
