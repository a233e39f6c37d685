"""The plan of the pool: k different models per instruction, by content hash alone."""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Sequence
from functools import cache
from itertools import combinations

import pytest
from hypothesis import given, strategies as st
from scipy.stats import chisquare

from vlfeedback import config
from vlfeedback.decode import Plan, PoolModel, check_pool, plan, plans
from vlfeedback.decode._mend import _candidates  # pyright: ignore[reportPrivateUsage]
from vlfeedback.errors import ConfigError
from vlfeedback.models import scripted

NAMES = [f"model-{number}" for number in range(12)]
EVEN: list[float | None] = [None] * 12


@given(
    st.text(min_size=1, max_size=8),
    st.integers(1, 12),
    st.lists(st.one_of(st.none(), st.floats(0, 1)), min_size=12, max_size=12),
)
def test_every_plan_has_k_different_models(instruction: str, k: int, shares: list[float | None]) -> None:
    try:
        chosen = plan(instruction, NAMES, shares, k)
    except ConfigError as error:
        assert "shares of [[pool]] sum to" in str(error)
        return
    assert len(chosen) == k == len(set(chosen))
    assert chosen == plan(instruction, NAMES, shares, k)


def test_the_pool_is_used_evenly() -> None:
    counts = Counter(index for number in range(6000) for index in plan(str(number), NAMES, EVEN, 4))
    assert all(abs(count - 2000) < 5 * 37 for count in counts.values()), counts  # 5 sd of a binomial(6000, 1/3)


def test_a_share_is_the_share_of_instructions() -> None:
    shares: list[float | None] = [0.8, *EVEN[1:]]
    counts = Counter(index for number in range(6000) for index in plan(str(number), NAMES, shares, 4))
    assert abs(counts[0] / 6000 - 0.8) < 0.03
    assert abs(counts[1] / 6000 - 3.2 / 11) < 0.03


def test_adding_a_model_changes_one_slot_at_most() -> None:
    changed = 0
    for number in range(2000):
        before = {NAMES[i] for i in plan(str(number), NAMES, EVEN, 4)}
        after = {[*NAMES, "new"][i] for i in plan(str(number), [*NAMES, "new"], [*EVEN, None], 4)}
        assert len(before - after) <= 1
        changed += before != after
    assert abs(changed / 2000 - 4 / 13) < 0.05


def test_the_order_of_the_pool_does_not_matter() -> None:
    turned = NAMES[::-1]
    for number in range(50):
        one = [NAMES[i] for i in plan(str(number), NAMES, EVEN, 4)]
        assert one == [turned[i] for i in plan(str(number), turned, EVEN, 4)]


def test_a_small_pool_and_twins_are_refused() -> None:
    one = PoolModel(scripted.load(model="a", replies=["x"]))
    with pytest.raises(ConfigError, match="the pool has 1 models"):
        check_pool([one], 2)
    with pytest.raises(ConfigError, match="two pool models claim"):
        check_pool([one, one], 2)


@cache
def planned(size: int, pool: int, k: int) -> list[Plan]:
    return list(plans((f"i{number}" for number in range(size)), names(pool), [None] * pool, k))


def names(pool: int) -> list[str]:
    return [f"model-{number}" for number in range(pool)]


def counted(rows: Sequence[Plan], pool: int) -> tuple[list[int], list[int]]:
    models = Counter(name for row in rows for name in row.models)
    pairs = Counter(pair for row in rows for pair in combinations(sorted(row.models), 2))
    return [models[name] for name in names(pool)], [pairs[pair] for pair in combinations(sorted(names(pool)), 2)]


class TestBalance:
    """The planner's numbers, at full size: 80,000 instructions."""

    @pytest.mark.parametrize(("pool", "k"), [(12, 4), (13, 4), (12, 2), (20, 4)])
    def test_models_within_2_and_pairs_within_4_percent(self, pool: int, k: int) -> None:
        rows = planned(80_000, pool, k)
        assert all(len(set(row.models)) == k for row in rows)
        models, pairs = counted(rows, pool)
        assert max(abs(count / (80_000 * k / pool) - 1) for count in models) < 0.02
        expected = 80_000 * k * (k - 1) / pool / (pool - 1)
        assert max(abs(count / expected - 1) for count in pairs) < 0.04

    def test_few_plans_are_mended_and_the_others_are_their_own_draw(self) -> None:
        drawn = [{f"model-{index}" for index in plan(f"i{one}", NAMES, EVEN, 2)} for one in range(80_000)]
        changed = [len(set(row.models) - own) for row, own in zip(planned(80_000, 12, 2), drawn, strict=True)]
        assert 0 < sum(changed) <= 0.003 * 80_000 + 4
        assert max(changed) == 1

    @pytest.mark.parametrize("size", [1, 2, 3, 7, 30, 100, 1_000, 5_000])
    def test_chi_square_is_not_rejected(self, size: int) -> None:
        for seed in range(30 if size <= 100 else 20_000 // size):
            rows = list(plans((f"{seed}-{number}" for number in range(size)), NAMES, EVEN, 4))
            models, pairs = counted(rows, 12)
            assert chisquare(models).pvalue > 0.01
            assert chisquare(pairs).pvalue > 0.01

    def test_a_new_model_takes_its_share_one_slot_each(self) -> None:
        before, after = planned(80_000, 12, 4), planned(80_000, 13, 4)
        lost = [len(set(one.models) - set(two.models)) for one, two in zip(before, after, strict=True)]
        assert max(lost) == 1
        assert 4 / 13 - 0.01 < sum(lost) / 80_000 <= 4 / 13 + 0.01

    @pytest.mark.parametrize(("pool", "k"), [(11, 2), (12, 2), (12, 4), (19, 4)])
    def test_no_plan_changes_in_two_slots(self, pool: int, k: int) -> None:
        """Where mending is needed most and in sets of every size, whichever of the models is the new one."""
        for size, sets in ((40, 12), (800, 8), (20_000, 1)):
            for number in range(sets):
                ids, grown = [f"{size}-{number}-{one}" for one in range(size)], names(pool + 1)
                after = list(plans(ids, grown, [None] * (pool + 1), k))
                for new in grown[:: max(1, pool // 2)]:
                    known = [name for name in grown if name != new]
                    before = plans(ids, known, [None] * pool, k)
                    assert max(len(set(a.models) - set(b.models)) for a, b in zip(before, after, strict=True)) <= 1

    def test_an_instruction_is_a_candidate_with_or_without_a_new_model_never_in_both(self) -> None:
        ids = [f"i{number}" for number in range(400)]
        without, grown = set(_candidates(ids, "twelve", 12)), set(_candidates(ids, "thirteen", 13))
        assert not without & grown and without | grown == set(range(400))

    def test_order_of_instructions_and_pool_do_not_matter(self) -> None:
        ids = [f"i{number}" for number in range(20_000)]
        one = {row.instruction_id: row.models for row in planned(20_000, 12, 2)}
        two = {row.instruction_id: row.models for row in plans(ids[::-1], NAMES[::-1], EVEN, 2)}
        assert one == two


class TestWeights:
    @pytest.mark.parametrize(
        "shares",
        [
            [0.8, *EVEN[1:]],
            [0.8, *[3.2 / 11] * 11],
            [1.0, 0.5, 0.5, 0.5, 0.5, *EVEN[5:]],
            [1.0, 0.7, *EVEN[2:]],
            [*[0.5] * 5, *EVEN[5:]],
            [*[0.31] * 9, *EVEN[9:]],
            [*[0.9] * 4, 0.1, *EVEN[5:]],
        ],
    )
    def test_every_share_is_kept_and_the_rest_is_even(self, shares: list[float | None]) -> None:
        given = [share for share in shares if share is not None]
        even = (4 - sum(given)) / (12 - len(given)) if len(given) < 12 else 0
        rows = list(plans((str(number) for number in range(20_000)), NAMES, shares, 4))
        counts = Counter(name for row in rows for name in row.models)
        for name, share in zip(NAMES, shares, strict=True):
            wanted = even if share is None else share
            assert abs(counts[name] / 20_000 - wanted) < 5 * (wanted * (1 - wanted) / 20_000) ** 0.5 + 1e-9

    @pytest.mark.parametrize(
        ("shares", "k"),
        [([*[0.5] * 5, *EVEN[5:]], 4), ([0.8, 0.6, 0.3, *EVEN[3:]], 2), ([1.0, *[0.4] * 6, *EVEN[7:]], 4)],
    )
    def test_a_new_model_changes_one_slot_where_shares_are_drawn_together(
        self, shares: list[float | None], k: int
    ) -> None:
        ids = [str(number) for number in range(5_000)]
        before, after = plans(ids, NAMES, shares, k), plans(ids, [*NAMES, "new"], [*shares, None], k)
        lost = [len(set(one.models) - set(two.models)) for one, two in zip(before, after, strict=True)]
        free = sum(share is None for share in shares)
        given = (k - sum(share for share in shares if share is not None)) / (free + 1)
        assert max(lost) == 1 and abs(sum(lost) / 5_000 - given) < 0.03

    @pytest.mark.parametrize(
        ("shares", "k", "message"),
        [
            ([1.0, 1.0, 1.0], 2, r"sum to 3, but decode\.k = 2"),
            ([0.5, 0.5, 0.5], 2, "fills fewer than decode.k = 2"),
            ([0.5, None, None], 3, "fills fewer than decode.k = 3"),
        ],
    )
    def test_shares_that_do_not_fit_are_refused(self, shares: list[float | None], k: int, message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            plan("x", ["a", "b", "c"], shares, k)

    def test_always_is_a_share_of_one(self) -> None:
        read = config.parse({"pool": [{"use": "openai", "always": True}, {"use": "openai"}]}, "run.toml")
        assert [table.share for table in read.pool] == [1.0, None]
        assert config.parse(tomllib.loads(config.to_toml(read)), "run.toml") == read
        with pytest.raises(ConfigError, match=r"always = true.*share = 0\.5"):
            config.parse({"pool": [{"use": "openai", "always": True, "share": 0.5}]}, "run.toml")


def test_no_instructions_have_no_plan() -> None:
    assert list(plans([], NAMES, EVEN, 4)) == []
    assert [row.models for row in plans(["x"], ["a"], [None], 1)] == [("a",)]
