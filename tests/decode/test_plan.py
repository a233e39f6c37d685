"""The plan of the pool: k different models per instruction, by content hash alone."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlfeedback.decode import PoolModel, check_pool, plan
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
    chosen = plan(instruction, NAMES, shares, k)
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
