"""Densities and quantiles against scipy, losses against torch."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import stats

from tsforecast.nn import distributions as d
from tsforecast.nn import losses

U = torch.tensor([1e-6, 0.01, 0.3, 0.5, 0.9, 0.999999], dtype=torch.float64).view(-1, 1)


def tensors(*rows):
    return [torch.tensor(row, dtype=torch.float64) for row in rows]


def close(found, expected):
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6, atol=1e-12)


def test_normal_agrees_with_scipy():
    x, location, scale = tensors([-3.0, 0.0, 1e3], [0.5, 0.5, -2.0], [0.1, 2.0, 50.0])
    close(d.normal_log_prob(x, location, scale), stats.norm.logpdf(x, location, scale))
    close(d.normal_quantile(U, location, scale), stats.norm.ppf(U, location, scale))


def test_student_t_agrees_with_scipy():
    x, location, scale, df = tensors([-3.0, 0.0, 1e3], [0.5, 0.5, -2.0], [0.1, 2.0, 50.0], [2.0, 4.5, 60.0])
    close(d.student_t_log_prob(x, location, scale, df), stats.t.logpdf(x, df, location, scale))
    close(d.student_t_quantile(U, location, scale, df), stats.t.ppf(U, df, location, scale))


def test_log_normal_agrees_with_scipy():
    x, location, scale = tensors([1e-3, 1.0, 1e3], [0.5, 0.0, 5.0], [0.1, 2.0, 1.0])
    close(d.log_normal_log_prob(x, location, scale), stats.lognorm.logpdf(x, scale, scale=location.exp()))
    close(d.log_normal_quantile(U, location, scale), stats.lognorm.ppf(U, scale, scale=location.exp()))


def test_poisson_agrees_with_scipy():
    count, mean = tensors([0.0, 0.0, 3.0, 1e6], [1e-3, 2.0, 7.5, 1e6 + 20])
    close(d.poisson_log_prob(count, mean), stats.poisson.logpmf(count, mean))
    close(d.poisson_quantile(U, mean), stats.poisson.ppf(U, mean))


def test_negative_binomial_agrees_with_scipy():
    count, mean, alpha = tensors([0.0, 0.0, 3.0, 900.0], [1e-3, 2.0, 7.5, 1e3], [0.5, 20.0, 1e-4, 0.3])
    n, p = 1 / alpha, 1 / (1 + alpha * mean)
    close(d.negative_binomial_log_prob(count, mean, alpha), stats.nbinom.logpmf(count, n, p))
    close(d.negative_binomial_quantile(U, mean, alpha), stats.nbinom.ppf(U, n, p))
    assert stats.nbinom.var(n, p) == pytest.approx((mean + alpha * mean**2).numpy())


def test_quantiles_of_counts_too_large_to_be_told_apart_are_those_of_the_limit():
    (mean,) = tensors([1e18])
    close(d.poisson_quantile(U, mean), stats.norm.ppf(U, 1e18, 1e9))
    close(d.negative_binomial_quantile(U, mean, torch.full_like(mean, 0.25)), stats.gamma.ppf(U, 4, scale=0.25e18))


@pytest.mark.parametrize("df", [2.05, 3.0, 30.0])
def test_polar_samples_have_the_distribution_of_student(df):
    grid = (torch.arange(200, dtype=torch.float64) + 0.5) / 200
    u, v = grid.view(-1, 1), grid.view(1, -1)
    location, scale = torch.tensor(1.0, dtype=torch.float64), torch.tensor(2.0, dtype=torch.float64)
    drawn = d.student_t_sample(u, v, location, scale, torch.tensor(df, dtype=torch.float64)).flatten()
    for level in (0.01, 0.1, 0.5, 0.9, 0.99):
        share = (drawn <= stats.t.ppf(level, df, 1.0, 2.0)).double().mean().item()
        assert share == pytest.approx(level, abs=3e-3)


def test_histogram_quantiles_invert_a_distribution_function_by_hand():
    probabilities, edges = torch.tensor([[[0.2, 0.0, 0.8]]]).double(), torch.tensor([0.0, 1.0, 5.0, 9.0]).double()
    u = torch.tensor([0.1, 0.2, 0.6, 1.0 - 1e-9]).double().view(-1, 1, 1)
    assert d.histogram_quantile(u, probabilities, edges).flatten().tolist() == pytest.approx([0.5, 1.0, 7.0, 9.0])


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    predicted, target = (torch.randn(4, 5, generator=generator, dtype=torch.float64) * 2 for _ in range(2))
    mask = torch.rand(4, 5, generator=generator) > 0.4
    return predicted.requires_grad_(), torch.where(mask, target, float("nan")), mask


@pytest.mark.parametrize(
    ("ours", "theirs"), [(losses.mse_loss, F.mse_loss), (losses.mae_loss, F.l1_loss), (losses.huber_loss, F.huber_loss)]
)
def test_point_losses_agree_with_torch_on_what_is_observed(batch, ours, theirs):
    predicted, target, mask = batch
    loss = ours(predicted, target, mask)
    torch.testing.assert_close(loss, theirs(predicted[mask], target[mask]), rtol=1e-9, atol=0.0)
    loss.backward()
    assert predicted.grad.isfinite().all() and (predicted.grad[~mask] == 0).all()


def test_binary_cross_entropy_agrees_with_torch_on_what_is_observed(batch):
    predicted, target, mask = batch
    occurs = target > 0
    theirs = F.binary_cross_entropy(torch.sigmoid(predicted[mask]), occurs[mask].double())
    torch.testing.assert_close(losses.bce_loss(predicted, occurs, mask), theirs, rtol=1e-9, atol=0.0)


def test_cross_entropy_agrees_with_torch_on_what_is_observed(batch):
    _, _, mask = batch
    logits, label = torch.randn(4, 5, 3, generator=torch.Generator().manual_seed(1)), torch.arange(20).view(4, 5) % 3
    theirs = F.cross_entropy(logits[mask], label[mask])
    torch.testing.assert_close(losses.cross_entropy_loss(logits, torch.where(mask, label, 99), mask), theirs)


def test_likelihood_loss_is_a_mean_over_what_is_observed():
    log_prob, mask = torch.tensor([[-1.0, -3.0, -100.0]]), torch.tensor([[True, True, False]])
    assert losses.nll_loss(log_prob, mask).item() == 2.0
