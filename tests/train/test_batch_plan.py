"""Which group is in which step and batch."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings, strategies as st

from vlfeedback.train._plan import pack, plan_run

GROUPS = st.lists(st.tuples(st.integers(1, 6), st.integers(2, 8), st.integers(5, 400)), min_size=1, max_size=60)


@given(GROUPS, st.integers(1, 64), st.integers(100, 5000), st.integers(1, 3), st.integers(0, 5))
@settings(deadline=None, max_examples=150)
def test_every_group_is_seen_once_per_epoch_and_every_step_has_equally_many_batches(
    groups: list[tuple[int, int, int]], per_step: int, budget: int, epochs: int, seed: int
) -> None:
    weights, rows, widths = ([group[k] for group in groups] for k in range(3))
    plan = plan_run(weights, rows, widths, per_step=per_step, budget=budget, epochs=epochs, seed=seed)
    assert len(plan.batches) == plan.accumulation * sum(plan.steps_of_epoch)
    begin = 0
    for steps in plan.steps_of_epoch:
        seen = Counter(i for number in range(begin, begin + steps) for i in plan.step(number))
        assert seen == Counter(range(len(groups)))
        begin += steps
    for batch in plan.batches:
        padded = sum(rows[i] for i in batch) * max((widths[i] for i in batch), default=0)
        assert len(batch) <= 1 or padded <= budget
    again = plan_run(weights, rows, widths, per_step=per_step, budget=budget, epochs=epochs, seed=seed)
    assert again == plan


def test_steps_have_about_the_wanted_pairs() -> None:
    weights = [6, 5, 1, 3] * 100
    plan = plan_run(weights, [4] * 400, [50] * 400, per_step=256, budget=10**6, epochs=1, seed=3)
    sizes = [sum(weights[i] for i in plan.step(n)) for n in range(plan.steps)]
    assert plan.steps == 6
    assert all(abs(size - 250) <= 6 for size in sizes)


def test_epochs_have_orders_of_their_own_and_seeds_too() -> None:
    def order(epochs: int, seed: int) -> list[tuple[int, ...]]:
        plan = plan_run([1] * 40, [2] * 40, [9] * 40, per_step=4, budget=1000, epochs=epochs, seed=seed)
        return [tuple(sorted(plan.step(n))) for n in range(plan.steps)]

    both = order(2, 0)
    assert both[:10] != both[10:]
    assert both[:10] == order(1, 0)
    assert order(1, 1) != order(1, 0)


def test_parts_of_one_group_are_in_one_step() -> None:
    wholes = [n // 3 for n in range(60)]
    plan = plan_run([2] * 60, [1] * 60, [50] * 60, per_step=12, budget=50, epochs=2, seed=1, wholes=wholes)
    assert plan.steps == 20
    for number in range(plan.steps):
        assert set(Counter(wholes[i] for i in plan.step(number)).values()) == {3}
    uncut = plan_run([6] * 20, [1] * 20, [50] * 20, per_step=12, budget=50, epochs=2, seed=1)
    for number in range(plan.steps):
        assert {wholes[i] for i in plan.step(number)} == set(uncut.step(number))


def test_budget_cuts_and_an_oversized_group_stands_alone() -> None:
    assert pack([0, 1, 2, 3], [2, 2, 2, 2], [10, 10, 10, 500], budget=40) == [[0, 1], [2], [3]]


def test_empty_batches_fill_a_step_of_single_groups() -> None:
    """Two steps, of one group and of two, one group per batch: the first gets a batch that counts nothing."""
    plan = plan_run([30, 1, 1], [4] * 3, [100] * 3, per_step=16, budget=400, epochs=1, seed=0)
    assert plan.accumulation == 2
    assert sorted(len(plan.step(n)) for n in range(plan.steps)) == [1, 2]
    assert plan.batches.count(()) == 1
