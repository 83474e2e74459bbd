"""Heads: what their raw numbers mean, alone and for all names in the table."""

import math
from itertools import pairwise

import pytest
import torch
from scipy import stats
from torch import nn

from tsforecast.errors import OptionError
from tsforecast.nn.heads import HEADS, LEVELS, SMALLEST_SCALE, QuantileHead, build_head

each_head = pytest.mark.parametrize("name", list(HEADS))
COUNTS = {"poisson", "negative_binomial"}
NINE = tuple(k / 10 for k in range(1, 10))


@pytest.fixture(autouse=True)
def fixed_chance():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def case(name, *, batch=3, horizon=4):
    """A head in double precision, raw numbers, bases, positive whole targets, sizes."""
    head = build_head(name, 5, horizon).double()
    raw = torch.randn(batch, horizon, head.outputs, dtype=torch.float64)
    base, size = torch.randn(batch, horizon, dtype=torch.float64), 0.5 + 3 * torch.rand(batch, 1, dtype=torch.float64)
    return head, raw, base, torch.randint(1, 6, (batch, horizon)).double(), size


def every(target):
    return torch.ones_like(target, dtype=torch.bool)


def test_an_unknown_head_lists_the_known_ones():
    with pytest.raises(OptionError, match="no head 'crystal_ball'; there are quantile, mse, mae, huber, normal, student_t"):
        build_head("crystal_ball", 4, 3)


@each_head
def test_raw_numbers_of_each_step_from_one_state_or_from_one_for_each_step(name):
    whole, each = build_head(name, 5, 4), build_head(name, 5, 4, per_step=True)
    assert whole(torch.randn(2, 5)).shape == each(torch.randn(2, 4, 5)).shape == (2, 4, whole.outputs)
    x = torch.randn(2, 4, 5)
    torch.testing.assert_close(each(x)[:, 2], each(x[:, 2:3])[:, 0])


@each_head
def test_a_fresh_head_sits_at_its_base_or_at_the_size_of_the_window(name):
    head = build_head(name, 5, 4)
    base, size = torch.full((2, 4), 3.0), torch.full((2, 1), 40.0)
    raw = head(torch.zeros(2, 5))
    if name == "hurdle":  # half of the steps are twice as large
        wanted = torch.full((2, 4, 1), 80.0, dtype=torch.float64)
        torch.testing.assert_close(head.quantiles(raw, base, size, (0.75,)), wanted, rtol=1e-3, atol=0.0)
    else:
        middle = head.quantiles(raw, base, size, (0.5,))
        wanted = {"poisson": 40.0, "negative_binomial": 34.0}.get(name, 40.0 if head.in_units else 3.0)
        torch.testing.assert_close(middle, torch.full((2, 4, 1), wanted, dtype=torch.float64), rtol=1e-6, atol=1e-6)


@each_head
@pytest.mark.parametrize("value", [-50.0, 50.0])
def test_extreme_raw_numbers_give_finite_losses_gradients_and_quantiles(name, value):
    head, base, size = build_head(name, 5, 4), torch.zeros(3, 4), torch.tensor([[1e-6], [1.0], [1e9]])
    raw = torch.full((3, 4, head.outputs), value, requires_grad=True)
    target = torch.tensor([[0.0, 1.0, 5.0, 100.0]]).expand(3, -1)
    loss = head.loss(raw, base, target, every(target), size)
    loss.backward()
    assert loss.isfinite() and raw.grad.isfinite().all()
    assert head.quantiles(raw.detach(), base, size, LEVELS).isfinite().all()
    u = torch.tensor([0.0, 0.5, 1.0 - 2**-24]).view(3, 1, 1)
    assert head.sample(raw.detach(), base, size, (u, u)).isfinite().all()


@each_head
@pytest.mark.parametrize("hole", [0.0, float("nan"), float("inf")])
def test_a_missing_step_has_no_weight_and_no_gradient(name, hole):
    head, raw, base, target, size = case(name)
    mask = every(target)
    mask[1, 2] = mask[2] = False
    raw.requires_grad_(), base.requires_grad_()
    holed = torch.where(mask, target, hole)
    loss = head.loss(raw, base, holed, mask, size)
    loss.backward()
    assert (raw.grad[~mask] == 0).all() and raw.grad[mask].abs().amax(-1).gt(0).all() and raw.grad.isfinite().all()
    assert base.grad is None or (base.grad.isfinite().all() and (base.grad[~mask] == 0).all())
    alone = [
        head.loss(raw[b : b + 1], base[b : b + 1], target[b : b + 1], mask[b : b + 1], size[b : b + 1]) * mask[b].sum()
        for b in range(3)
    ]
    torch.testing.assert_close(loss, sum(alone) / mask.sum())  # a mean over observed steps


@each_head
def test_a_batch_without_any_target_has_no_loss(name):
    head, raw, base, target, size = case(name)
    assert head.loss(raw, base, target, ~every(target), size).item() == 0.0


@each_head
def test_quantiles_ascend_and_do_not_depend_on_which_others_are_asked(name):
    head, raw, base, _, size = case(name)
    fine = (0.001, 0.03, *NINE, 0.999)
    found = head.quantiles(raw.float() * 3, base.float(), size.float(), fine)
    assert found.shape == (3, 4, len(fine)) and found.dtype == torch.float64
    assert (found.diff(dim=-1) >= 0).all()
    torch.testing.assert_close(head.quantiles(raw.float() * 3, base.float(), size.float(), (0.3,))[..., 0], found[..., 4])


@each_head
def test_a_share_of_the_samples_lies_below_each_quantile(name):
    head, raw, base, _, size = case(name, batch=1, horizon=2)
    count = 4000
    drawn = head.sample(raw, base, size, (torch.rand(count, 1, 2), torch.rand(count, 1, 2)))
    assert drawn.shape == (count, 1, 2)
    limits = head.quantiles(raw, base, size, NINE)  # (1, 2, Q)
    upto = (drawn.unsqueeze(-1) <= limits).double().mean(0)
    below = (drawn.unsqueeze(-1) < limits).double().mean(0)
    levels = torch.tensor(NINE, dtype=torch.float64)
    assert (upto > levels - 0.03).all() and (below < levels + 0.03).all()


@each_head
def test_a_head_built_without_memory_is_filled_by_what_was_stored(name):
    stored = build_head(name, 5, 4)
    with torch.device("meta"):
        empty = build_head(name, 5, 4)
    filled = empty.to_empty(device="cpu")
    filled.load_state_dict(stored.state_dict())
    state, base, size = torch.randn(2, 5), torch.randn(2, 4), torch.ones(2, 1)
    torch.testing.assert_close(
        filled.quantiles(filled(state), base, size, NINE), stored.quantiles(stored(state), base, size, NINE), rtol=0, atol=0
    )


@pytest.mark.parametrize("name", [name for name, head in HEADS.items() if not head.in_units])
def test_a_head_of_the_scaled_target_moves_with_its_base(name):
    head, raw, base, target, size = case(name)
    moved = head.quantiles(raw, base + 2.0, size, NINE)
    torch.testing.assert_close(moved, head.quantiles(raw, base, size, NINE) + 2.0)
    torch.testing.assert_close(
        head.loss(raw, base + 2.0, target + 2.0, every(target), size), head.loss(raw, base, target, every(target), size)
    )


@pytest.mark.parametrize("name", ["log_normal", "hurdle"])
def test_a_head_of_sizes_scales_with_the_window(name):
    head, raw, base, target, size = case(name)
    torch.testing.assert_close(head.quantiles(raw, base, 7 * size, NINE), 7 * head.quantiles(raw, base, size, NINE))
    torch.testing.assert_close(
        head.loss(raw, base, 7 * target, every(target), 7 * size), head.loss(raw, base, target, every(target), size)
    )


def test_quantile_head_between_its_levels_is_linear_in_the_normal_score():
    head = QuantileHead(4, 1, (0.1, 0.5, 0.9))
    raw = torch.zeros(1, 1, 3, dtype=torch.float64)  # distances of log 2
    zero, one = torch.zeros(1, 1, dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64)
    found = head.quantiles(raw, zero, one, (0.01, 0.2, 0.9, 0.99))[0, 0].numpy()
    assert found == pytest.approx(stats.norm.ppf([0.01, 0.2, 0.9, 0.99]) * math.log(2) / stats.norm.ppf(0.9))


@pytest.mark.parametrize(("name", "wanted"), [("mse", 4.0), ("mae", 2.0), ("huber", 1.5)])
def test_point_heads_lose_the_error_of_the_point(name, wanted):
    head = build_head(name, 3, 2)
    raw, base, target = torch.full((1, 2, 1), 0.5), torch.full((1, 2), 0.5), torch.full((1, 2), 3.0)
    assert head.loss(raw, base, target, every(target), torch.ones(1, 1)).item() == pytest.approx(wanted)


@pytest.mark.parametrize("name", ["mse", "mae", "huber"])
def test_the_spread_of_a_point_head_learns_how_far_the_truth_lies_and_leaves_the_point_alone(name):
    head = build_head(name, 3, 2)
    noise = torch.randn(500, 2) * torch.tensor([0.2, 5.0])
    raw, base = torch.zeros(500, 2, 1, requires_grad=True), torch.zeros(500, 2)
    optimizer = torch.optim.Adam([head.log_spread], lr=0.02)
    for _ in range(150):
        optimizer.zero_grad()
        head.loss(raw, base, noise, every(noise), torch.ones(500, 1)).backward()
        optimizer.step()
    found = head.quantiles(raw.detach(), base, torch.ones(500, 1), (float(stats.norm.cdf(1)),))[0, :, 0]
    torch.testing.assert_close(found, noise.double().std(0), rtol=0.05, atol=0.0)
    raw.grad = None
    head.loss(raw, base, noise, every(noise), torch.ones(500, 1)).backward()
    alone = raw.detach().clone().requires_grad_()
    head.point_loss(alone[..., 0], noise, every(noise)).backward()
    torch.testing.assert_close(raw.grad, alone.grad, rtol=0, atol=0)


def test_a_horizon_read_in_patches_repeats_the_spreads():
    head = build_head("mse", 3, 2)
    with torch.no_grad():
        head.log_spread[:] = torch.tensor([-0.5, 0.5])
    found = head.quantiles(torch.zeros(1, 5, 1), torch.zeros(1, 5), torch.ones(1, 1), (0.9,))[0, :, 0]
    torch.testing.assert_close(found[:2].repeat(3)[:5], found)
    assert found[1] > 5 * found[0]


def softplus(x):
    return nn.functional.softplus(x)


def reference(name, raw, base, size):
    """The scipy distribution that raw numbers stand for."""
    raw0, wide = raw[..., 0].numpy(), (softplus(raw[..., 1]) + SMALLEST_SCALE).numpy() if raw.shape[-1] > 1 else None
    bent = 20 * torch.tanh(raw[..., 0] / 20)
    mean = (size * bent.exp()).numpy()
    if name == "normal":
        return stats.norm(base.numpy() + raw0, wide)
    if name == "student_t":
        return stats.t(2 + softplus(raw[..., 2]).numpy(), base.numpy() + raw0, wide)
    if name == "log_normal":
        return stats.lognorm(s=wide, scale=mean)
    if name == "poisson":
        return stats.poisson(mean)
    alpha = softplus(raw[..., 1]).numpy() + 1e-6
    return stats.nbinom(1 / alpha, 1 / (1 + alpha * mean))


@pytest.mark.parametrize("name", ["normal", "student_t", "log_normal", "poisson", "negative_binomial"])
def test_losses_and_quantiles_of_distributions_agree_with_scipy(name):
    head, raw, base, target, size = case(name)
    expected = reference(name, raw, base, size)
    log_prob = expected.logpmf(target.numpy()) if name in COUNTS else expected.logpdf(target.numpy())
    constant = size.log().mean().item() if name == "log_normal" else 0.0  # the density of target / size
    assert head.loss(raw, base, target, every(target), size).item() == pytest.approx(-log_prob.mean() - constant, rel=1e-9)
    found = head.quantiles(raw, base, size, NINE)
    for q, level in enumerate(NINE):
        assert found[..., q].numpy() == pytest.approx(expected.ppf(level), rel=1e-8)


def test_log_normal_takes_a_target_of_nothing_for_a_small_one():
    head, raw, base, target, size = case("log_normal")
    small = head.loss(raw, base, torch.zeros_like(target), every(target), size)
    torch.testing.assert_close(small, head.loss(raw, base, 1e-3 * size.expand_as(target), every(target), size))


def test_categorical_loss_is_the_cross_entropy_of_the_bin_of_the_residual():
    head, raw, base, _, size = case("categorical")
    target = base + torch.tensor([-1e9, -0.3, 0.0, 1e9], dtype=torch.float64)
    grid = torch.linspace(-1, 1, 66, dtype=torch.float64) * math.asinh(400.0)
    edges = 0.05 * torch.sinh(grid)
    place = [0, int((edges < -0.3).sum()) - 1, 32, 64]
    expected = nn.functional.cross_entropy(raw.flatten(0, 1), torch.tensor(place * 3))
    torch.testing.assert_close(head.loss(raw, base, target, every(target), size), expected)


def test_categorical_quantiles_are_flat_inside_a_bin():
    head, raw, base, _, size = case("categorical", batch=1, horizon=1)
    raw[:] = -40.0
    raw[..., 32] = 40.0  # all in the middle bin
    grid = 0.05 * math.sinh(math.asinh(400.0) / 65)
    found = head.quantiles(raw, 0 * base, size, (0.25, 0.5, 0.75))[0, 0].tolist()
    assert found == pytest.approx([-grid / 2, 0.0, grid / 2], abs=1e-9)


def test_hurdle_quantiles_are_nothing_up_to_the_chance_of_nothing():
    head = build_head("hurdle", 3, 1)
    raw = torch.tensor([[[math.log(3.0), 0.0, 0.0]]], dtype=torch.float64)  # something in three steps of four
    found = head.quantiles(raw, torch.zeros(1, 1), torch.full((1, 1), 10.0), (0.1, 0.25, 0.625, 0.999))[0, 0]
    assert found[:2].tolist() == [0.0, 0.0]
    assert found[2].item() == pytest.approx(10.0)  # the middle of what there is
    levels = [(0.999 - 0.25) / 0.75]
    assert found[3].item() == pytest.approx(10 * stats.lognorm.ppf(levels, math.log(2) + SMALLEST_SCALE)[0])


def test_hurdle_loss_by_hand():
    head = build_head("hurdle", 3, 2)
    raw = torch.tensor([[[math.log(3.0), 0.0, 0.0]] * 2], dtype=torch.float64)
    target, size = torch.tensor([[0.0, 5.0]], dtype=torch.float64), torch.full((1, 1), 10.0, dtype=torch.float64)
    density = stats.lognorm.logpdf(0.5, math.log(2) + SMALLEST_SCALE)
    expected = -(math.log(0.25) + math.log(0.75) + density) / 2
    assert head.loss(raw, torch.zeros(1, 2), target, every(target), size).item() == pytest.approx(expected)


def test_bins_are_dense_near_the_base():
    head, raw, base, _, size = case("categorical", batch=1, horizon=1)
    fine = head.quantiles(raw * 0, 0 * base, size, tuple((k + 0.5) / 65 for k in range(65)))[0, 0].tolist()
    widths = [b - a for a, b in pairwise(fine)]
    assert widths[:32] == sorted(widths[:32], reverse=True) and fine[32] == pytest.approx(0.0, abs=1e-9)
