"""The papers' rule against a second implementation that shares no code with the first."""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations

from hypothesis import given, settings, strategies as st

from vlfeedback.pair import ASPECTS, all_pairs, pairs
from vlfeedback.records import Group, Instruction, PreferencePair, Rating, Response

score = st.none() | st.integers(1, 5)
several = st.lists(st.tuples(score, score, score), min_size=0, max_size=3)
"""What several judges said of one response."""
cases = st.lists(st.tuples(st.sampled_from(["yes", "no", "a cup", "A cup"]), several), max_size=5)


def counted(case: list[tuple[str, list[tuple[int | None, ...]]]], column: int) -> list[list[int]]:
    """Scores that count on one aspect, by response: what all judges say who rate the most responses together."""
    table = [[row[column] for row in judged] for _, judged in case]
    lengths = {len(given) for given in table}
    judges = list(range(max(lengths)))
    if len(lengths) == 1 and judges:
        rated = [[k for k, given in enumerate(table) if given[n] is not None] for n in judges]
        followers = [[n for n in judges if set(some) <= set(rated[n])] for some in rated]
        some, judges = max(zip(rated, followers, strict=True), key=lambda one: (len(one[0]), len(one[1]), one[0]))
        table = [given if k in some else [] for k, given in enumerate(table)]
    return [[value for n in judges if n < len(given) and (value := given[n]) is not None] for given in table]


def brute_force(case: list[tuple[str, list[tuple[int | None, ...]]]]) -> dict[tuple[int, int], str]:
    """By the book: means of what counts, then means of means, in exact arithmetic and in no hurry."""
    overall: list[Fraction | None] = []
    by_aspect = [counted(case, column) for column in range(3)] if case else []
    for place in range(len(case)):
        columns = [given[place] for given in by_aspect]
        if all(columns):
            means = [Fraction(sum(column), len(column)) for column in columns]
            overall.append(sum(means, Fraction()) / 3)
        else:
            overall.append(None)
    found: dict[tuple[int, int], str] = {}
    for one, other in combinations(range(len(case)), 2):
        left, right = overall[one], overall[other]
        if case[one][0] == case[other][0]:
            found[one, other] = "identical"
        elif left is None or right is None:
            found[one, other] = "incomplete"
        elif left == right:
            found[one, other] = "tie"
        else:
            found[(one, other) if left > right else (other, one)] = f"{abs(left - right)}"
    return found


@settings(max_examples=300)
@given(cases)
def test_all_pairs_is_the_papers_rule(case: list[tuple[str, list[tuple[int | None, ...]]]]) -> None:
    instruction = Instruction("i", "prompt", (), "test")
    responses = tuple(Response(f"r{k}", "i", f"m{k}", text, "stop") for k, (text, _) in enumerate(case))
    ratings = tuple(
        Rating(f"r{k}", aspect, value)
        for k, (_, judged) in enumerate(case)
        for row in judged
        for aspect, value in zip(ASPECTS, row, strict=True)
    )
    found: dict[tuple[int, int], str] = {}
    for record in pairs([Group(instruction, responses, ratings, ())], all_pairs.load()):
        if isinstance(record, PreferencePair):
            assert record.margin is not None and record.margin > 0
            place = (int(record.chosen_id[1:]), int(record.rejected_id[1:]))
            found[place] = str(Fraction(record.margin).limit_denominator(1000))
        else:
            one, other = sorted(int(part[1:]) for part in record.detail.partition(":")[0].split())
            found[one, other] = record.reason
    assert found == brute_force(case)


def test_sums_that_floats_tell_apart_tie() -> None:
    """In floats 0.1 + 0.2 is not 0.3, and the mean of three means of three depends on the order."""
    instruction = Instruction("i", "prompt", (), "test")
    responses = tuple(Response(f"r{k}", "i", f"m{k}", f"text {k}", "stop") for k in range(2))
    columns = {"r0": ((1, 1, 1), (1, 1, 2), (1, 1, 5)), "r1": ((1, 1, 1), (1, 1, 5), (1, 1, 2))}
    floats = {name: sum(sum(given) / 3 for given in table) / 3 for name, table in columns.items()}
    assert floats["r0"] != floats["r1"], "an example in which floats agree shows nothing"
    ratings = tuple(
        Rating(name, aspect, value)
        for name, table in columns.items()
        for aspect, given in zip(ASPECTS, table, strict=True)
        for value in given
    )
    (record,) = pairs([Group(instruction, responses, ratings, ())], all_pairs.load())
    assert not isinstance(record, PreferencePair) and record.reason == "tie"
