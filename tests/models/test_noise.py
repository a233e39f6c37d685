"""The noise of sampling: uniform, keyed, and exact in its limits."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from vlfeedback.models._noise import gumbel, nucleus, seed_of  # noqa: E402


def test_noise_is_a_function_of_seed_step_and_token() -> None:
    seeds = torch.tensor([seed_of(f"{number:032x}"[::-1]) for number in range(50)])
    rows = gumbel(seeds, 3, 200)
    assert torch.equal(gumbel(seeds[[7, 2]], 3, 200), rows[[7, 2]])
    assert torch.equal(gumbel(seeds, 3, 90), rows[:, :90])
    assert not torch.equal(gumbel(seeds, 4, 200), rows)
    assert len(torch.unique(rows)) > 9_900


def test_noise_is_standard_gumbel() -> None:
    noise = gumbel(torch.arange(400), 0, 1_000).double().flatten()
    assert torch.isfinite(noise).all()
    assert noise.mean().item() == pytest.approx(0.5772, abs=0.01)
    assert noise.var().item() == pytest.approx(1.6449, abs=0.03)
    for point in (-1.0, 0.0, 1.0, 4.0):
        expected = float(torch.exp(-torch.exp(torch.tensor(-point))))
        assert (noise <= point).double().mean().item() == pytest.approx(expected, abs=0.005)


def test_neighbouring_steps_and_seeds_are_unrelated() -> None:
    seeds = torch.arange(200)
    noise = torch.stack([gumbel(seeds, step, 300).flatten() for step in (0, 1)])
    shifted = torch.stack([gumbel(seeds, 0, 300)[:-1, :].flatten(), gumbel(seeds, 0, 300)[1:, :].flatten()])
    diagonal = torch.stack([gumbel(seeds, 0, 300)[:, 1:].flatten(), gumbel(seeds, 1, 300)[:, :-1].flatten()])
    for pair in (noise, shifted, diagonal):
        assert abs(torch.corrcoef(pair)[0, 1].item()) < 0.02


def test_nucleus_keeps_the_smallest_set_that_reaches_the_share() -> None:
    scores = torch.log(torch.tensor([[0.1, 0.5, 0.15, 0.25]])).repeat(4, 1)
    kept = torch.isfinite(nucleus(scores, torch.tensor([0.5, 0.6, 1.0, 1e-9])))
    assert kept.tolist() == [
        [False, True, False, False],
        [False, True, False, True],
        [True, True, True, True],
        [False, True, False, False],
    ]
