"""Objectives as arithmetic: worked examples, the formula for two responses, ties, bounds."""

from __future__ import annotations

import importlib
import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from vlfeedback.errors import ConfigError, DataError
from vlfeedback.train import LossInput, Preferences
from vlfeedback.train.sigmoid import dpo_loss

PAIRWISE = (
    "sigmoid", "conservative", "robust", "hinge", "ipo", "simpo", "plackett_luce", "reward_anchored", "gap_weighted",
    "mpo", "mdpo",
)  # fmt: skip
NAMES = (*PAIRWISE, "anchored", "best_response")
CASES = [(name, n) for name in NAMES for n in range(3)]


def plug_in(name: str) -> Any:
    return importlib.import_module(f"vlfeedback.train.{name}")


def preferences(case: LossInput) -> Preferences:
    best = [] if case.best is None else [case.best]
    return Preferences(
        torch.tensor(case.pairs, dtype=torch.long).reshape(-1, 2),
        torch.tensor(case.weights, dtype=torch.float64),
        torch.tensor(best, dtype=torch.long),
        torch.tensor([case.best if case.best is not None else pair[0] for pair in case.pairs], dtype=torch.long),
        torch.tensor(case.gaps, dtype=torch.float64) if case.gaps else None,
        case.baseline,
        torch.tensor(case.damaged, dtype=torch.long) if case.damaged else None,
    )


def wide(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize(("name", "number"), CASES)
def test_worked_examples(name: str, number: int) -> None:
    case, expected = plug_in(name).EXAMPLES[number]
    objective = plug_in(name).load(**dict(case.options))
    out = objective(wide(*case.policy), wide(*case.reference), torch.tensor(case.lengths), preferences(case))
    assert out.losses.tolist() == pytest.approx(list(expected), abs=1e-9)
    assert out.chosen_rewards.shape == out.rejected_rewards.shape == (len(case.pairs),)


def test_two_responses_are_the_formula_of_the_paper() -> None:
    """beta 0.5, log-ratios 1 and -2: -log sigmoid(0.5 · 3) = log(1 + e^-1.5) = 0.201413."""
    out = dpo_loss(wide(-4.0, -9.0), wide(-5.0, -7.0), torch.tensor([[0, 1]]), beta=0.5)
    assert out.losses.item() == pytest.approx(math.log1p(math.exp(-1.5)), abs=1e-12)
    assert out.chosen_rewards.item() == pytest.approx(0.5)
    assert out.rejected_rewards.item() == pytest.approx(-1.0)


def test_gradient_pushes_chosen_up_and_rejected_down_by_beta_times_the_error() -> None:
    policy = wide(-4.0, -9.0).requires_grad_()
    dpo_loss(policy, wide(-4.0, -9.0), torch.tensor([[0, 1]]), beta=0.1).losses.sum().backward()
    assert policy.grad is not None
    assert policy.grad.tolist() == pytest.approx([-0.05, 0.05])  # beta · sigmoid(0) = 0.1 / 2


def test_no_pair_gives_no_loss_and_rewards_carry_no_gradient() -> None:
    policy = wide(-1.0, -2.0).requires_grad_()
    nothing = dpo_loss(policy, wide(-1.0, -2.0), torch.zeros((0, 2), dtype=torch.long), beta=0.1)
    assert nothing.losses.shape == (0,)
    some = dpo_loss(policy, wide(-1.0, -2.0), torch.tensor([[1, 0]]), beta=0.1)
    assert not some.chosen_rewards.requires_grad
    assert not some.rejected_rewards.requires_grad


def test_equal_sides_cost_log_two_and_pull_nowhere() -> None:
    """A response against itself: log-ratio difference exactly 0, gradient exactly 0."""
    policy = wide(-3.0).requires_grad_()
    out = dpo_loss(policy, wide(-5.0), torch.tensor([[0, 0]]), beta=0.1)
    out.losses.sum().backward()
    assert out.losses.item() == pytest.approx(math.log(2))
    assert policy.grad is not None
    assert policy.grad.item() == 0.0


def test_extreme_differences_stay_finite() -> None:
    out = dpo_loss(wide(-1e5, 0.0), wide(0.0, -1e5), torch.tensor([[0, 1], [1, 0]]), beta=1.0)
    assert out.losses.tolist() == pytest.approx([2e5, 0.0])


@pytest.mark.parametrize("pairs", [[[0, 2]], [[-1, 0]]])
def test_a_pair_outside_the_batch_is_refused(pairs: list[list[int]]) -> None:
    with pytest.raises(ValueError, match="outside"):
        dpo_loss(wide(-1.0, -2.0), wide(-1.0, -2.0), torch.tensor(pairs), beta=0.1)


@pytest.mark.parametrize(("name", "options"), [("sigmoid", {"beta": 0.0}), ("anchored", {"weight": -0.1})])
def test_impossible_options_are_refused(name: str, options: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="must"):
        plug_in(name).load(**options)


def test_the_anchor_pulls_the_best_response_up_by_its_share_per_token() -> None:
    policy = wide(-5.0, -7.0, -6.0).requires_grad_()
    choice = Preferences(torch.tensor([[0, 1]]), wide(1.0), torch.tensor([2]), torch.tensor([2]))
    objective = plug_in("anchored").load(beta=0.1, weight=0.9)
    objective(policy, wide(-5.0, -7.0, -6.0), torch.tensor([2, 2, 3]), choice).losses.sum().backward()
    assert policy.grad is not None
    assert policy.grad.tolist() == pytest.approx([-0.05, 0.05, -0.3])


def test_plug_ins_load_without_torch() -> None:
    """Law 1: options are checked before any training, by commands that must stay quick."""
    import subprocess
    import sys

    code = (
        "import sys, vlfeedback.train, vlfeedback.train.sigmoid, vlfeedback.train.anchored, "
        "vlfeedback.train.best_response as b; b.load(); print('torch' in sys.modules, 'transformers' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.split() == ["False", "False"]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("hinge", {"beta": 0.0}), ("ipo", {"beta": -1.0}), ("simpo", {"beta": 0.0}), ("robust", {"wrong": 0.5}),
        ("simpo", {"margin": -1.0}),
        ("conservative", {"wrong": -0.1}), ("conservative", {"beta": math.nan}), ("mpo", {"quality": -1.0}),
        ("sigmoid", {"beta": math.nan}), ("sigmoid", {"beta": -1.0}), ("hinge", {"beta": math.inf}),
        ("anchored", {"beta": math.nan}), ("anchored", {"weight": -1.0}),
        ("plackett_luce", {"beta": 0.0}), ("reward_anchored", {"weight": -1.0}), ("gap_weighted", {"rate": 0.0}),
        ("gap_weighted", {"mode": "sideways"}),
    ],
)  # fmt: skip
def test_options_out_of_range_are_refused(name: str, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"{next(iter(options))} must be"):
        plug_in(name).load(**options)


@pytest.mark.parametrize("name", PAIRWISE)
def test_every_pair_objective_prefers_the_chosen_response(name: str) -> None:
    """Where policy and reference are equal, the loss falls as the chosen one rises, and rises with the rejected one."""
    policy = wide(-4.0, -9.0).requires_grad_()
    case = LossInput((), (), (), (3, 7), ((0, 1),), (1.0,), 0, gaps=(1.5,))
    plug_in(name).load()(policy, policy.detach(), torch.tensor(case.lengths), preferences(case)).losses.sum().backward()
    assert policy.grad is not None
    assert policy.grad[0] < 0 < policy.grad[1]


def test_unbiased_under_wrong_labels() -> None:
    """Mean robust loss over labels turned round with probability 0.2 = plain loss of the true label."""
    robust, plain = plug_in("robust").load(beta=0.7, wrong=0.2), plug_in("sigmoid").load(beta=0.7)
    case = LossInput((), (), (), (1, 1), ((0, 1),), (1.0,), 0)
    turned = LossInput((), (), (), (1, 1), ((1, 0),), (1.0,), 0)
    policy, reference = wide(-1.0, -2.5), wide(-2.0, -2.0)
    right, wrong = (
        robust(policy, reference, torch.tensor((1, 1)), preferences(one)).losses.item() for one in (case, turned)
    )
    true = plain(policy, reference, torch.tensor((1, 1)), preferences(case)).losses.item()
    assert 0.8 * right + 0.2 * wrong == pytest.approx(true, abs=1e-12)


def test_a_long_list_is_the_chain_of_choices_of_plackett_and_luce() -> None:
    """Five responses in order: the sum over pairs is -log of the product of softmaxes over what is left."""
    ratio = wide(0.3, -1.2, 2.0, 0.1, -0.4)
    listed = tuple((a, b) for a in range(5) for b in range(a + 1, 5))
    case = LossInput((), (), (), (1,) * 5, listed, (1.0,) * 10, 0)
    out = plug_in("plackett_luce").load(beta=0.7)(ratio, torch.zeros(5).double(), torch.ones(5), preferences(case))
    expected = -sum(torch.log_softmax(0.7 * ratio[i:], 0)[0].item() for i in range(5))
    assert out.losses.sum().item() == pytest.approx(expected, abs=1e-12)


def test_a_list_of_extreme_differences_stays_finite() -> None:
    case = LossInput((), (), (), (1, 1, 1), ((0, 1), (0, 2)), (1.0, 1.0), 0)
    policy = wide(-1e5, 0.0, 0.0).requires_grad_()
    out = plug_in("plackett_luce").load(beta=1.0)(policy, torch.zeros(3).double(), torch.ones(3), preferences(case))
    out.losses.sum().backward()
    assert out.losses.sum().item() == pytest.approx(1e5 + math.log(2))
    assert policy.grad is not None and torch.isfinite(policy.grad).all()


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_costs_what_its_groups_cost(name: str) -> None:
    """Losses and gradients of three groups in one batch are those of each alone: no pair reads another group."""
    objective = plug_in(name).load()
    policy = wide(-4.0, -9.0, -6.5, -3.0, -8.0, -2.0, -7.5, -1.0).requires_grad_()
    reference, lengths = wide(-5.0, -7.0, -6.0, -2.0, -9.0, -4.0, -7.0, -2.5), torch.tensor([3, 7, 5, 2, 9, 4, 6, 1])
    groups = (((0, 1), (0, 2), (1, 2)), ((4, 3),), ((7, 6), (6, 5)))

    def cost(chosen: tuple[tuple[tuple[int, int], ...], ...]) -> tuple[list[float], torch.Tensor]:
        listed = [pair for pairs in chosen for pair in pairs]
        best = [pairs[0][0] for pairs in chosen for _ in pairs]
        given = LossInput((), (), (), (), tuple(listed), tuple(1.0 + pair[0] for pair in listed), None,
                          gaps=tuple(0.5 + pair[1] for pair in listed), baseline=0.7,
                          damaged=tuple((one + 1) % 8 for one in best))  # fmt: skip
        facts = replace(preferences(given), best=torch.tensor(sorted(set(best))), best_of_pair=torch.tensor(best))
        losses = objective(policy, reference, lengths, facts).losses
        return losses.tolist(), torch.autograd.grad(losses.sum(), policy)[0]

    whole, parts = cost(groups), [cost((one,)) for one in groups]
    assert whole[0] == pytest.approx([loss for losses, _ in parts for loss in losses], abs=1e-12)
    assert torch.allclose(whole[1], torch.stack([gradient for _, gradient in parts]).sum(0), atol=1e-12)


def test_another_shift_changes_mpo_by_no_more_than_the_documentation_says() -> None:
    """At most 2 · quality · d in the loss and quality · d / 4 in the gradient by a reward, whatever the rewards are."""
    beta, quality, distance = 0.1, 0.2, 0.6
    for chosen, rejected in ((0.0, 0.0), (-30.0, -35.0), (40.0, -3.0), (2.0, 9.0)):
        ratio = wide(chosen, rejected).requires_grad_()
        found: list[tuple[float, torch.Tensor]] = []
        for baseline in (0.0, -distance / beta):
            case = LossInput((), (), (), (1, 1), ((0, 1),), (1.0,), 0, baseline=baseline)
            loss = plug_in("mpo").load()(ratio, torch.zeros(2).double(), torch.ones(2), preferences(case)).losses
            found.append((loss.item(), torch.autograd.grad(loss.sum(), ratio)[0] / beta))
        assert abs(found[0][0] - found[1][0]) <= 2 * quality * distance
        assert float((found[0][1] - found[1][1]).abs().max()) <= quality * distance / 4 + 1e-12


def test_a_pair_without_a_gap_is_no_pair_for_weights_by_gap() -> None:
    case = LossInput((), (), (), (1, 1), ((0, 1),), (1.0,), 0, gaps=(math.nan,))
    with pytest.raises(DataError, match="some have none"):
        plug_in("gap_weighted").load()(wide(-1.0, -2.0), wide(-1.0, -2.0), torch.ones(2), preferences(case))


@pytest.mark.parametrize("mode", ["beta", "up", "down"])
@pytest.mark.parametrize("gap", [-0.5, -4.0, -1e3, -math.inf])
def test_a_pair_against_its_ratings_is_trained_as_the_pair_says(mode: str, gap: float) -> None:
    """`longest_as_best` and shuffled labels make such pairs: they count as DPO does, and never backwards."""
    policy = wide(-4.0, -9.0).requires_grad_()
    case = LossInput((), (), (), (3, 7), ((0, 1),), (1.0,), 0, gaps=(gap,))
    out = plug_in("gap_weighted").load(mode=mode)(policy, wide(-5.0, -7.0), torch.ones(2), preferences(case))
    plain = plug_in("sigmoid").load()(policy, wide(-5.0, -7.0), torch.ones(2), preferences(case))
    out.losses.sum().backward()
    assert out.losses.item() == pytest.approx(plain.losses.item(), abs=1e-12)
    assert policy.grad is not None and policy.grad[0] < 0 < policy.grad[1]


def test_a_gap_beyond_what_its_type_holds_is_a_clear_pair() -> None:
    """A stated margin of 1e308 is infinite in fp32: f is 1, and nothing says that the pair has no gap."""
    case = LossInput((), (), (), (3, 3), ((0, 1),), (1.0,), 0, gaps=(1e308,))
    given = preferences(case)
    narrow = replace(given, gaps=torch.tensor(case.gaps))
    for one in (given, narrow):
        out = plug_in("gap_weighted").load()(wide(-10.0, -9.0), wide(-12.0, -8.0), torch.ones(2), one)
        assert out.losses.item() == pytest.approx(math.log1p(math.exp(-0.6)), abs=1e-12)
