"""Intervals that hold what they promise, checked against hand arithmetic, scipy and small simulations."""

from __future__ import annotations

import itertools
import math
import random
import statistics

import numpy as np
import pytest
import scipy.stats
from hypothesis import example, given, settings, strategies as st

from vlfeedback import stats

POINTS = (0.0, 50.0, 200.0)


def test_a_plain_mean_has_the_standard_error_of_the_central_limit_theorem() -> None:
    values = [float(n % 7) for n in range(50)]
    found = stats.mean(values)
    assert found.value == pytest.approx(statistics.mean(values))
    assert found.se == pytest.approx(statistics.stdev(values) / math.sqrt(50))
    assert found.low is not None and found.high is not None
    half = 2.0096 * statistics.stdev(values) / math.sqrt(50)  # t with 49 degrees of freedom
    assert (found.low, found.high) == pytest.approx((found.value - half, found.value + half), rel=1e-4)


def test_clustered_standard_error_is_millers_equation_4_with_the_small_sample_factor() -> None:
    # Clusters a = {1, 3}, b = {5}, mean 3: residual sums -2 and 2, SE^2 = (4 + 4) / 3^2, times C/(C-1) = 2.
    found = stats.mean([1.0, 3.0, 5.0], clusters=["a", "a", "b"])
    assert found.se == pytest.approx(math.sqrt(2 * 8 / 9))
    assert found.units == 2 and found.n == 3


def test_repeating_every_item_in_its_cluster_adds_no_certainty() -> None:
    values = [float(n % 5) for n in range(40)]
    once = stats.mean(values)
    twice = stats.mean(values + values, clusters=[str(n) for n in range(40)] * 2)
    assert twice.se == pytest.approx(once.se)
    assert twice.low == pytest.approx(once.low)
    naive = stats.mean(values + values)
    assert naive.se is not None and once.se is not None and naive.se < 0.75 * once.se


def test_a_sum_of_strata_is_mmes_total_and_its_variance() -> None:
    rng = random.Random(1)
    strata = {"existence": 30, "posters": 147, "OCR": 20}
    values, names = [], []
    for name, count in strata.items():
        values += [rng.choice(POINTS) for _ in range(count)]
        names += [name] * count
    parts = {name: [v for v, n in zip(values, names, strict=True) if n == name] for name in strata}
    found = stats.mean(values, strata=names)
    assert found.value == pytest.approx(sum(statistics.mean(part) for part in parts.values()))
    expected = sum(statistics.variance(part) / len(part) for part in parts.values())
    assert found.se == pytest.approx(math.sqrt(expected))
    # Both questions of a picture with the picture's points, clustered: the same total and the same error.
    doubled = stats.mean(values * 2, strata=names * 2, clusters=[str(n) for n in range(197)] * 2)
    assert (doubled.value, doubled.se) == pytest.approx((found.value, found.se))
    assert doubled.units == 197


def test_a_unit_in_two_strata_is_one_unit() -> None:
    values, strata = [0.0, 1.0] * 20 + [0.0, 1.0] * 20, ["a"] * 40 + ["b"] * 40
    apart = stats.mean(values, strata=strata)
    together = stats.mean(values, strata=strata, clusters=[str(n) for n in range(40)] * 2)
    assert together.units == 40
    assert apart.se is not None and together.se == pytest.approx(apart.se * math.sqrt(2), rel=0.02)


def test_too_few_units_have_no_interval_and_say_so() -> None:
    found = stats.mean([float(n) for n in range(29)])
    assert found.low is None and found.high is None and "29 units" in found.note
    assert stats.mean([float(n) for n in range(30)]).low is not None
    clustered = stats.mean([float(n) for n in range(58)], clusters=[str(n // 2) for n in range(58)])
    assert clustered.low is None


def test_equal_values_have_no_interval_of_width_zero() -> None:
    found = stats.mean([200.0] * 100, strata=["a"] * 50 + ["b"] * 50)
    assert found.value == 400 and found.low is None and found.note == "all units are equal"
    assert stats.mean([0.1] * 60, clusters=[str(n // 2) for n in range(60)]).note == "all units are equal"


def test_a_stratum_of_one_unit_has_no_standard_error() -> None:
    found = stats.mean([float(n % 3) for n in range(41)], strata=["a"] * 40 + ["b"])
    assert found.se is None and found.low is None and "single unit" in found.note


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    # Exact below 30 trials (Clopper and Pearson 1934), Wilson's score interval from there on (Newcombe 1998).
    [(0, 10, 0.0, 0.30850), (5, 10, 0.18709, 0.81291), (10, 10, 0.69150, 1.0), (81, 263, 0.25525, 0.36616)],
)
def test_rate_intervals_of_the_literature(successes: int, n: int, low: float, high: float) -> None:
    found = stats.rate(successes, n)
    assert (found.low, found.high) == pytest.approx((low, high), abs=2e-4)
    assert found.method == ("exact" if n < 30 else "wilson")
    assert stats.mean([1.0] * successes + [0.0] * (n - successes)) == found


@pytest.mark.parametrize("counts", [(1, 0), (-1, 5), (6, 5)])
def test_counts_that_are_no_rate_are_refused(counts: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="not a rate"):
        stats.rate(*counts)


def test_no_value_is_never_averaged() -> None:
    with pytest.raises(ValueError, match="not finite"):
        stats.mean([1.0, math.nan])
    with pytest.raises(ValueError, match="nothing"):
        stats.mean([])
    with pytest.raises(ValueError, match="paired"):
        stats.paired([1.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="clusters"):
        stats.mean([1.0, 2.0], clusters=["a"])


def test_pairing_takes_out_what_both_models_share() -> None:
    rng = random.Random(3)
    old = [rng.gauss(50, 30) for _ in range(200)]
    new = [value + 1 + rng.gauss(0, 1) for value in old]
    found = stats.paired(new, old)
    assert found.value == pytest.approx(statistics.mean(new) - statistics.mean(old))
    assert found.low is not None and found.high is not None
    assert 0.75 < found.low < found.value < found.high < 1.3  # unpaired it would be some ±6
    assert found.mde == pytest.approx(2.8 * (found.se or 0))
    assert found.p < 0.001 and found.changed == 200 and found.method == "t"


def test_the_interval_agrees_with_resampling_one_unit_at_a_time() -> None:
    rng = np.random.default_rng(5)
    clusters = np.repeat(np.arange(60), 2)
    strata = ["a"] * 80 + ["b"] * 40
    change = rng.choice([0.0, 50.0, -50.0, 150.0], size=60)[clusters]
    names = [str(c) for c in clusters]
    found = stats.paired(change.tolist(), [0.0] * 120, clusters=names, strata=strata)
    draws = []
    for _ in range(4000):
        total = 0.0
        for units in (np.arange(40), np.arange(40, 60)):
            picked = rng.choice(units, size=len(units))
            true = change[np.isin(clusters, units)].mean()
            mean = np.concatenate([change[clusters == unit] for unit in picked]).mean()
            total += true + (mean - true) * math.sqrt(len(units) / (len(units) - 1))
        draws.append(total)
    assert (found.low, found.high) == pytest.approx(np.percentile(draws, [2.5, 97.5]).tolist(), abs=3)


def test_results_do_not_depend_on_the_order_of_the_items() -> None:
    rng = random.Random(8)
    rows = [(rng.choice(POINTS), rng.choice(POINTS), str(n // 2), "ab"[n % 4 // 2]) for n in range(200)]
    first = stats.paired(*zip(*[r[:2] for r in rows], strict=True), clusters=[r[2] for r in rows])  # type: ignore[arg-type]
    rng.shuffle(rows)
    again = stats.paired(*zip(*[r[:2] for r in rows], strict=True), clusters=[r[2] for r in rows])  # type: ignore[arg-type]
    assert (first.low, first.high, first.p) == pytest.approx((again.low, again.high, again.p))


def exact_sign_flip(change: list[float]) -> float:
    total = abs(sum(change))
    flips = [
        sum(s * c for s, c in zip(signs, change, strict=True))
        for signs in itertools.product((1, -1), repeat=len(change))
    ]
    return sum(abs(one) >= total - 1e-9 for one in flips) / len(flips)


@settings(max_examples=60, deadline=None)
@example([-200.0, -200.0, -50.0, 0.0, 50.0, 50.0, 50.0, 150.0, 150.0])  # cancels: ties were lost to rounding, p = 0.875
@given(st.lists(st.sampled_from([-200.0, -50.0, 0.0, 50.0, 150.0]), min_size=1, max_size=10))
def test_the_sign_flip_p_value_is_exact_where_it_can_be_enumerated(change: list[float]) -> None:
    assert stats.paired(change, [0.0] * len(change)).p == pytest.approx(exact_sign_flip(change))


@given(st.lists(st.sampled_from([-2.0, -0.5, 0.5, 1.5]), min_size=1, max_size=8), st.sampled_from([1e-9, 1.0, 1e9]))
def test_the_p_value_does_not_depend_on_the_unit_of_measurement(change: list[float], scale: float) -> None:
    scaled = [scale * one for one in change]
    assert stats.paired(scaled, [0.0] * len(change)).p == pytest.approx(exact_sign_flip(change))


def test_many_distinct_changes_are_sampled_close_to_the_exact_p_value() -> None:
    rng = random.Random(2)
    change = [rng.gauss(0.5, 1) for _ in range(18)]
    assert stats.paired(change, [0.0] * 18).p == pytest.approx(exact_sign_flip(change), abs=0.02)


def test_nothing_changed_is_no_evidence() -> None:
    found = stats.paired([50.0] * 100, [50.0] * 100, strata=["a"] * 100)
    assert found.value == 0 and found.p == 1 and found.low is None and "0 units changed" in found.note


def test_ten_changes_are_needed_for_an_interval() -> None:
    old = [50.0] * 100
    for changed, method in ((9, "none"), (10, "t")):
        found = stats.paired([200.0] * changed + [50.0] * (100 - changed), old)
        assert found.method == method and found.changed == changed


def test_rates_with_few_changes_get_an_exact_interval() -> None:
    found = stats.paired([1.0] * 3 + [0.0] * 57, [0.0] * 60)
    assert found.method == "exact" and found.note == "" and found.p == pytest.approx(0.25)
    # Clopper and Pearson at 97.5 % for 3 of 60 gains and 0 of 60 losses: one after the other by scipy.
    gains, losses = (scipy.stats.binomtest(count, 60).proportion_ci(0.975, "exact") for count in (3, 0))
    assert (found.low, found.high) == pytest.approx((gains.low - losses.high, gains.high - losses.low))
    none = stats.paired([0.0] * 20, [0.0] * 20)
    assert none.low is not None and none.low < -0.1 and (none.high or 0) > 0.1


def test_an_exact_interval_holds_the_truth_at_least_as_often_as_it_says() -> None:
    gain, loss, n = 0.06, 0.02, 40
    rng, held, repetitions = np.random.default_rng(4), 0, 600
    for _ in range(repetitions):
        kind = rng.random(n)
        new, old = (kind < gain).astype(float), ((kind >= gain) & (kind < gain + loss)).astype(float)
        found = stats.paired(new.tolist(), old.tolist())
        held += (found.low or 0) <= gain - loss <= (found.high or 0)
    assert held / repetitions >= 0.95


def test_few_units_without_an_exact_interval_say_too_few() -> None:
    assert stats.paired([1.5] * 5 + [0.0] * 15, [0.0] * 20).note.startswith("too few: 20 units")
    assert stats.paired([1.5] * 5 + [0.0] * 55, [0.0] * 60).note.startswith("too few: 5 units changed")
    assert stats.paired([2.0] * 60, [0.0] * 60).note == "all units changed by the same amount"


def test_thousands_of_changes_are_counted_out() -> None:
    found = stats.paired([1.0] * 2100 + [0.0] * 1900, [0.0] * 2100 + [1.0] * 1900)
    assert found.p == pytest.approx(scipy.stats.binomtest(2100, 4000).pvalue, rel=1e-6)


# ── ratios ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def f1_parts(said: list[bool], truth: list[bool]) -> tuple[list[float], list[float]]:
    return (
        [2.0 * (a and b) for a, b in zip(said, truth, strict=True)],
        [float(a) + float(b) for a, b in zip(said, truth, strict=True)],
    )


def test_a_ratio_has_the_error_of_the_jackknife_over_clusters() -> None:
    rng = random.Random(6)
    clusters = [str(n // 6) for n in range(600)]
    truth = [n % 2 == 0 for n in range(600)]
    said = [(rng.random() < 0.8) == one for one in truth]
    over, under = f1_parts(said, truth)
    found = stats.ratio(over, under, clusters=clusters)
    assert found.value == pytest.approx(sum(over) / sum(under)) and found.units == 100
    left = []
    for gone in range(100):
        keep = [n for n in range(600) if n // 6 != gone]
        left.append(sum(over[n] for n in keep) / sum(under[n] for n in keep))
    jackknife = math.sqrt(99 / 100 * sum((one - statistics.mean(left)) ** 2 for one in left))
    assert found.se == pytest.approx(jackknife, rel=0.01)
    with pytest.raises(ValueError, match="divide"):
        stats.ratio([0.0], [0.0])


def test_the_difference_of_two_ratios_is_paired_by_cluster() -> None:
    rng = random.Random(7)
    truth = [n % 2 == 0 for n in range(600)]
    old = [(rng.random() < 0.75) == one for one in truth]
    new = [one if rng.random() < 0.85 else b for one, b in zip(old, truth, strict=True)]
    clusters = [str(n // 6) for n in range(600)]
    found = stats.paired_ratio(f1_parts(new, truth), f1_parts(old, truth), clusters=clusters)
    ratios = [stats.ratio(*f1_parts(one, truth), clusters=clusters) for one in (new, old)]
    assert found.value == pytest.approx(ratios[0].value - ratios[1].value)
    apart = math.hypot(*(one.se or 0 for one in ratios))
    assert found.se is not None and found.se < 0.7 * apart and found.p < 0.01
    differ = {n // 6 for n in range(600) if new[n] != old[n]}
    assert found.changed == len(differ) and found.units == 100
    draws = []
    generator = np.random.default_rng(0)
    parts = [np.array(side).reshape(100, 6).sum(1) for one in (new, old) for side in f1_parts(one, truth)]
    for _ in range(4000):
        pick = generator.integers(0, 100, 100)
        a, b, c, d = (part[pick].sum() for part in parts)
        draws.append(a / b - c / d)
    assert found.se == pytest.approx(float(np.std(draws)), rel=0.06)


def test_exchanging_two_equal_models_is_no_evidence_for_a_ratio() -> None:
    truth = [n % 2 == 0 for n in range(120)]
    same = stats.paired_ratio(f1_parts(truth, truth), f1_parts(truth, truth))
    assert same.value == 0 and same.p == 1 and same.changed == 0


# ── seeds ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_seeds_are_paired_with_students_t() -> None:
    new, old = [3.0, 5.0, 4.0, 6.0, 4.5], [2.0, 3.5, 4.0, 4.0, 3.0]
    found, known = stats.over_seeds(new, old), scipy.stats.ttest_rel(new, old)
    low, high = known.confidence_interval(0.95)
    assert (found.low, found.high, found.p) == pytest.approx((low, high, known.pvalue))
    with pytest.raises(ValueError, match="at least two"):
        stats.over_seeds([1.0], [0.0])
    with pytest.raises(ValueError, match="paired"):
        stats.over_seeds([1.0, 2.0], [0.0])
    assert stats.over_seeds([1.0, 2.0], [0.0, 1.0]).note == "all seeds differ by the same amount"


def test_holm() -> None:
    assert stats.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert stats.holm([]) == []
    assert stats.holm([0.9, 0.8]) == [1.0, 1.0]


@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_never_lowers_a_p_value_and_keeps_their_order(p_values: list[float]) -> None:
    adjusted = stats.holm(p_values)
    assert all(p <= q <= 1 for p, q in zip(p_values, adjusted, strict=True))
    ranked = [q for _, q in sorted(zip(p_values, adjusted, strict=True))]
    assert ranked == sorted(ranked)


def coverage(repetitions: int, pictures: dict[str, int], seed: int) -> tuple[float, float]:
    """Share of intervals, of a total and of a paired difference, that hold the truth of a simulated benchmark."""
    rng = np.random.default_rng(seed)
    names = [name for name, count in pictures.items() for _ in range(count)]
    hits = [0, 0]
    chances = {name: 0.55 + 0.1 * index for index, name in enumerate(pictures)}

    def points(chance: float) -> float:
        right = rng.random(2) < chance
        return 50.0 * right.sum() + 100.0 * right.all()

    def mean(chance: float) -> float:
        return 100 * chance + 100 * chance**2

    truth = sum(map(mean, chances.values()))
    gained = sum(0.3 * (mean(0.95) - mean(chance)) for chance in chances.values())
    for _ in range(repetitions):
        old = [points(chances[name]) for name in names]
        # An aligned model answers 70 % of the pictures just as its base does.
        new = [points(0.95) if rng.random() < 0.3 else value for value in old]
        one, two = stats.mean(old, strata=names), stats.paired(new, old, strata=names, resamples=1000)
        assert one.low is not None and one.high is not None and two.low is not None and two.high is not None
        hits[0] += one.low <= truth <= one.high
        hits[1] += two.low <= gained <= two.high
    return hits[0] / repetitions, hits[1] / repetitions


def test_intervals_cover_the_truth_about_19_times_in_20() -> None:
    for share in coverage(200, {"existence": 30, "posters": 60, "OCR": 20}, seed=4):
        assert 0.9 <= share <= 0.99


@pytest.mark.slow
def test_intervals_cover_the_truth_on_a_benchmark_of_mmes_size() -> None:
    """Strata of 20 to 170 pictures, skewed points, one picture in three answered anew."""
    sizes = {"existence": 30, "posters": 147, "celebrity": 170, "OCR": 20}
    for share in coverage(2000, sizes, seed=9):
        assert 0.93 <= share <= 0.97


def test_a_small_stratum_that_carries_the_variance_sets_the_degrees_of_freedom() -> None:
    rng = np.random.default_rng(6)
    values = [*rng.normal(0, 1, 1000).tolist(), *rng.normal(0, 50, 20).tolist()]
    strata = ["large"] * 1000 + ["small"] * 20
    one = stats.mean(values, strata=strata)
    assert one.se is not None and one.high is not None
    assert (one.high - one.value) / one.se == pytest.approx(2.093, abs=0.01)  # Student's t with 19, not 1.96
    two = stats.paired(values, [0.0] * 1020, strata=strata)
    assert two.se is not None and two.low is not None and two.high is not None
    assert (two.high - two.low) / two.se / 2 == pytest.approx(2.093, abs=0.06)


def test_a_difference_of_the_detectable_size_is_found_four_times_in_five() -> None:
    rng = np.random.default_rng(12)
    found = 0
    for _ in range(300):
        change = rng.normal(2.8 / math.sqrt(100), 1.0, 100)  # the true standard error is 1/10
        one = stats.paired(change.tolist(), [0.0] * 100, resamples=500)
        found += one.low is not None and one.low > 0
    assert 0.72 <= found / 300 <= 0.88
