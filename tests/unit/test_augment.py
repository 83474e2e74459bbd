"""Changed training windows: what each augmentation keeps and what it changes."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.augment_cases import SEASON, L, T, applied, batch_of, curves_of, full_batch, generator, noisy, same, there_of
from tsforecast.nn.augment import _straight_line, decompose
from tsforecast.nn.augmentations import (
    AUGMENTATIONS,
    FrequencyNoise,
    Jitter,
    MagnitudeWarp,
    Masking,
    Mixup,
    Scaling,
    SeasonalBootstrap,
    TimeWarp,
    WindowSlice,
    build_augmentation,
)
from tsforecast.nn.scale import WindowScale
from tsforecast.nn.window_network import WindowBatch

each = pytest.mark.parametrize("name", AUGMENTATIONS)


# What all of them promise


@each
def test_shapes_types_and_what_belongs_to_the_series_stay(name):
    batch = full_batch()
    found = applied(build_augmentation(name, share=1.0), batch)
    for field in WindowBatch.__slots__:
        before, after = getattr(batch, field), getattr(found, field)
        assert (before.shape, before.dtype) == (after.shape, after.dtype), field
    assert found.static is batch.static and found.category is batch.category and found.signed is batch.signed
    assert not same(found, batch)


@each
def test_a_batch_is_left_alone_and_the_same_generator_gives_the_same(name):
    batch = full_batch()
    copy = replace(batch, **{field: getattr(batch, field).clone() for field in WindowBatch.__slots__})
    first, second = (applied(build_augmentation(name), batch, seed=5) for _ in range(2))
    assert same(first, second) and same(batch, copy)
    assert not same(first, applied(build_augmentation(name), batch, seed=6))


@each
@pytest.mark.parametrize(("share", "wanted"), [(0.0, 0), (0.25, 16), (0.5, 32), (1.0, 64)])
def test_the_share_is_the_part_of_windows_that_are_changed(name, share, wanted):
    batch = batch_of(noisy(64))
    recipe = build_augmentation(name, share=share)
    recipe = replace(recipe, missing=0.5) if name == "masking" else recipe  # or a window may happen to lose no step
    found = applied(recipe, batch)
    changed = (curves_of(found) != curves_of(batch)).any(1)
    if share == 0.0:
        assert found is batch
    assert int(changed.sum()) == wanted


@each
def test_a_missing_value_stays_missing_and_counts_for_nothing(name):
    batch = full_batch()
    hidden = replace(batch, past=torch.where(batch.seen, batch.past, 1e9), future=torch.where(batch.known, batch.future, -1e9))
    found, other = (applied(build_augmentation(name, share=1.0), one) for one in (batch, hidden))
    assert (curves_of(found)[~there_of(found)] == 0).all()
    torch.testing.assert_close(curves_of(found), curves_of(other) * there_of(other))
    if name not in ("time_warp", "window_slice"):  # these move the holes
        assert not (there_of(found) & ~there_of(batch)).any()
    if name not in ("time_warp", "window_slice", "masking", "mixup"):
        assert torch.equal(there_of(found), there_of(batch))


@each
def test_sales_stay_sales(name):
    counts = torch.poisson(torch.full((64, L), 0.7, dtype=torch.float64), generator=generator())
    counts[0, :T] = 0.0  # a window of zeros that then sells
    found = applied(build_augmentation(name, share=1.0), batch_of(counts, signed=False))
    assert (curves_of(found) >= 0).all()


@each
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_other_precisions_work(name, dtype):
    batch = batch_of(noisy(8, level=5.0))
    low = replace(batch, past=batch.past.to(dtype), future=batch.future.to(dtype))
    found = applied(build_augmentation(name, share=1.0), low)
    assert found.past.dtype == found.future.dtype == dtype
    assert curves_of(found).isfinite().all() and not torch.equal(curves_of(found), curves_of(low))


@each
def test_a_change_does_not_depend_on_the_unit_of_the_series(name):
    """As far as double precision goes: a million times the values, a million times the result."""
    batch = batch_of(noisy(8))
    large = replace(batch, past=batch.past * 1e6, future=batch.future * 1e6)
    recipe = build_augmentation(name, share=1.0)
    torch.testing.assert_close(curves_of(applied(recipe, batch)) * 1e6, curves_of(applied(recipe, large)), rtol=1e-9, atol=1e-6)


@each
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_whatever_the_windows_are_numbers_come_out(name, data):
    windows, context, horizon = (data.draw(st.integers(1, most)) for most in (4, 9, 5))
    numbers = st.floats(-1e12, 1e12, allow_nan=False) | st.sampled_from([0.0, 1.0, 1e-12])
    steps = windows * (context + horizon)
    values = torch.tensor(data.draw(st.lists(numbers, min_size=steps, max_size=steps)), dtype=torch.float64)
    there = torch.tensor(data.draw(st.lists(st.booleans(), min_size=steps, max_size=steps)))
    batch = batch_of(values.view(windows, -1), there.view(windows, -1), context=context, signed=data.draw(st.booleans()))
    season, series = (
        data.draw(st.integers(1, 8)),
        torch.tensor(data.draw(st.lists(st.integers(0, 2), min_size=windows, max_size=windows))),
    )
    found = applied(build_augmentation(name, share=1.0), batch, seed=data.draw(st.integers(0, 99)), season=season, series=series)
    assert curves_of(found).isfinite().all()
    assert (curves_of(found)[~there_of(found)] == 0).all()
    enough = batch.seen.sum(1) >= 2
    assert (found.seen.sum(1)[enough] >= 2).all()
    assert torch.equal(found.known.any(1), batch.known.any(1))
    assert torch.equal(curves_of(found)[~enough], curves_of(batch)[~enough])


def test_a_window_that_would_leave_the_numbers_stays():
    batch = batch_of(noisy(50).sign() * 1e308)
    found = applied(Scaling(size=1.0, share=1.0), batch)
    larger = (curves_of(found).abs() > 1e308).any(1)
    stayed = (curves_of(found) == curves_of(batch)).all(1)
    assert curves_of(found).isfinite().all() and larger.any() and stayed.any()


# What each of them does


def test_jitter_deviates_by_its_size_in_scales_before_and_after_the_origin():
    batch = batch_of(noisy(2000) * 50 + 7)
    scale = WindowScale.of(batch.past, batch.seen, signed=batch.signed)
    found = applied(Jitter(size=0.3, share=1.0), batch)
    for part in ((found.past - batch.past), (found.future - batch.future)):
        z = part / scale.scale
        assert float(z.std()) == pytest.approx(0.3, rel=0.02)
        assert float(z.mean()) == pytest.approx(0.0, abs=0.005)


def test_jitter_of_a_series_without_negative_values_is_a_share_of_its_level():
    level = torch.linspace(0, 8, L, dtype=torch.float64).exp().expand(500, -1)  # grows 3000-fold
    batch = batch_of(level * torch.rand(500, L, generator=generator(), dtype=torch.float64).add(0.5), signed=False)
    found = applied(Jitter(size=0.05, share=1.0), batch)
    share = (curves_of(found) / curves_of(batch)).log().std(0)  # (L,)
    assert float(share[-1] / share[L // 2]) == pytest.approx(1.0, abs=0.15)


def test_scaling_is_one_factor_for_the_whole_window():
    batch = batch_of(noisy(500, level=9.0))
    ratio = curves_of(applied(Scaling(size=0.4, share=1.0), batch)) / curves_of(batch)
    torch.testing.assert_close(ratio, ratio[:, :1].expand(-1, L))
    assert (ratio > 0).all()
    assert float(ratio[:, 0].log().std()) == pytest.approx(0.4, rel=0.1)


def test_magnitude_warp_is_a_smooth_factor_of_the_distance_from_the_level():
    batch = batch_of(noisy(2000))
    scale = WindowScale.of(batch.past, batch.seen, signed=batch.signed)
    found = applied(MagnitudeWarp(size=0.25, knots=3, share=1.0), batch)
    factor = scale.apply(curves_of(found)) / scale.apply(curves_of(batch))  # (B, L)
    torch.testing.assert_close(factor.std(0), torch.full((L,), 0.25, dtype=torch.float64), rtol=0.1, atol=0.0)
    assert float((factor - 1).mean()) == pytest.approx(0.0, abs=0.01)
    steps = factor.diff(dim=1).std(0)
    assert (steps < 0.2 * 0.25).all()  # also over the origin; independent values would differ by 1.41 * 0.25


def test_time_warp_keeps_order_ends_and_values_of_a_rising_line():
    line = torch.arange(L, dtype=torch.float64).expand(200, -1)
    found = curves_of(applied(TimeWarp(size=0.5, share=1.0), batch_of(line)))  # a line tells the time it was read at
    assert (found.diff(dim=1) > 0).all()
    assert (found[:, 0] == 0).all() and (found[:, -1] == L - 1).all()
    assert float((found[:, L // 2] - L // 2).std()) > 1.0


def test_time_warp_bends_covariates_as_the_target_and_moves_holes():
    line = torch.arange(L, dtype=torch.float64).expand(50, -1)
    holes = torch.ones(50, L, dtype=torch.bool)
    holes[:, 10:14] = False
    covariates = line.float().unsqueeze(-1)
    batch = batch_of(line, holes, covariates=covariates, past_covariates=covariates[:, :T])
    found = applied(TimeWarp(size=0.5, share=1.0), batch)
    moments = found.covariates.squeeze(-1)
    there = there_of(found)
    torch.testing.assert_close(curves_of(found)[there].float(), moments[there])
    assert torch.equal(there, (moments <= 9) | (moments >= 14))  # between 9 and 14 a neighbour is missing
    torch.testing.assert_close(found.past_covariates.squeeze(-1), moments[:, :T].clamp(max=T - 1))


def test_time_warp_keeps_the_first_and_the_last_step_beside_a_hole():
    there = torch.ones(20, L, dtype=torch.bool)
    there[:, [1, L - 2]] = False
    found = applied(TimeWarp(share=1.0), batch_of(noisy(20), there))
    assert found.seen[:, 0].all() and found.known[:, -1].all()


def test_window_slice_stretches_a_part_of_the_window():
    line = torch.arange(L, dtype=torch.float64).expand(500, -1)
    found = curves_of(applied(WindowSlice(kept=0.5, share=1.0), batch_of(line)))
    torch.testing.assert_close(found.diff(dim=1), torch.full((500, L - 1), 0.5, dtype=torch.float64))
    start = found[:, 0]
    assert float(start.min()) >= 0 and float(found[:, -1].max()) <= L - 1
    assert float(start.mean()) == pytest.approx((L - 1) / 4, rel=0.1)


@pytest.mark.parametrize("block", [1, 5])
def test_masking_hides_its_share_of_the_context_in_blocks_and_nothing_ahead(block):
    batch = batch_of(noisy(3000))
    found = applied(Masking(missing=0.3, block=block, share=1.0), batch)
    assert torch.equal(found.future, batch.future) and torch.equal(found.known, batch.known)
    hidden = ~found.seen
    assert float(hidden.double().mean()) == pytest.approx(0.3, abs=0.01)
    assert hidden.double().mean(0).sub(0.3).abs().max() < 0.04  # at every place alike
    assert torch.equal(found.past[found.seen], batch.past[found.seen])
    begins = (hidden[:, 1:-block] & ~hidden[:, : -block - 1]).nonzero()  # a hidden step after a seen one
    runs = torch.stack([hidden[begins[:, 0], begins[:, 1] + 1 + k] for k in range(block)])
    assert runs.all()


def test_masking_leaves_at_least_two_observed_steps():
    batch = batch_of(noisy(50)[:, :4], context=2)
    assert applied(Masking(missing=0.9, share=1.0), batch).seen.all()


def test_mixup_lies_between_two_windows_of_different_series():
    first, second = torch.tensor([0.0, 1.0] * 16), torch.tensor([3.0, 2.0, 1.0, 0.0] * 8)
    batch = batch_of(torch.stack([first] * 5 + [100 * second] * 5).double())
    series = torch.tensor([0] * 5 + [1] * 5)
    scale = WindowScale.of(batch.past, batch.seen, signed=batch.signed)
    z, found = scale.apply(curves_of(batch)), scale.apply(curves_of(applied(Mixup(share=1.0), batch, series=series)))
    for row, partner in [(0, 5), (7, 0)]:
        weight = ((found[row] - z[row]) / (z[partner] - z[row]))[z[partner] != z[row]]
        torch.testing.assert_close(weight, weight[:1].expand(len(weight)))
        assert 0 < float(weight[0]) <= 0.4
    batch = batch_of(noisy(60))
    alike = applied(Mixup(share=1.0), batch, series=torch.zeros(60, dtype=torch.int64))
    assert torch.equal(curves_of(alike), curves_of(batch))  # nobody else is there
    most = applied(Mixup(share=1.0), batch, series=(torch.arange(60) == 30).long())  # one window of another series
    changed = (curves_of(most) != curves_of(batch)).any(1)
    assert int(changed.sum()) == 2 and changed[30]  # it met one, one met it


def test_mixup_mixes_no_jump_after_a_constant_window_in():
    calm = torch.ones(1, L, dtype=torch.float64)
    calm[:, T:] = 1e6  # as far as 1e16 of its scales
    batch = batch_of(torch.cat([noisy(1), calm]))
    assert applied(Mixup(share=1.0), batch).future[0].abs().max() < 100


def test_mixup_meets_every_other_series_and_never_its_own():
    """A curve of its own for each series tells whom a window met: half the batch may be of one series."""
    series = torch.tensor([0, 0, 0, 1, 2, 2])
    shapes = torch.zeros(6, L, dtype=torch.float64)
    shapes[:, :T] = torch.tensor([-1.0, 1.0] * (T // 2))  # all have the same scale
    shapes[torch.arange(6), T + series] = 1.0
    batch, met = batch_of(shapes), set()
    for seed in range(30):
        found = applied(Mixup(share=1.0), batch, seed=seed, series=series)
        for row in range(6):
            others = set(found.future[row, :3].nonzero().flatten().tolist()) - {int(series[row])}
            assert len(others) == 1
            met |= {(int(series[row]), others.pop())}
    assert met == {(0, 1), (0, 2), (1, 0), (2, 0)} | (met & {(1, 2), (2, 1)})


def test_mixup_makes_no_flood_of_a_trickle():
    """In the logarithm a sparse series deviates so much that the peaks of a steady one would be e^20 of its sales."""
    sparse = (torch.arange(L) % 5 == 0).double()
    steady = 100 + (torch.arange(L) % 7).double()
    found = applied(Mixup(share=1.0), batch_of(torch.stack([sparse, steady]), signed=False))
    assert curves_of(found)[0].max() < 3


def test_mixup_sees_what_both_have_seen_and_mixes_covariates_alike():
    there = torch.ones(2, L, dtype=torch.bool)
    there[0, 3], there[1, 7] = False, False
    covariates = torch.stack([torch.zeros(L, 1), torch.ones(L, 1)])
    found = applied(Mixup(share=1.0), batch_of(noisy(2), there, covariates=covariates))
    assert torch.equal(there_of(found), there.all(0).expand(2, -1))
    assert 0 < float(found.covariates[0, 0]) <= 0.4 and 0.6 <= float(found.covariates[1, 0]) < 1
    assert (found.covariates == found.covariates[:, :1]).all()


def decomposed_by_a_loop(z, there, season):
    """A line, phase means, moving average of what is left, phase means of what is left then; one window."""

    def phases(values):
        means = [
            np.mean([v for i, (v, s) in enumerate(zip(values, there, strict=True)) if s and i % season == phase])
            for phase in range(season)
        ]
        return np.array([means[i % season] - np.mean(means) for i in range(len(values))])

    steps = np.arange(len(z))
    line = np.polyval(np.polyfit(steps[there], z[there], 1), steps)
    steady, trend = z - line - phases(z - line), np.zeros(len(z))
    half = season // 2
    for i in range(len(z)):
        total = count = 0.0
        for j in range(max(i - half, 0), min(i + half + 1, len(z))):
            weight = (0.5 if season % 2 == 0 and abs(i - j) == half else 1.0) * there[j]
            total, count = total + weight * steady[j], count + weight
        trend[i] = line[i] + total / count
    return trend, phases(z - trend)


@pytest.mark.parametrize("season", [4, 5])
def test_the_decomposition_equals_a_loop(season):
    z, there = noisy(3), torch.rand(3, L, generator=generator(1)) < 0.85
    trend, seasonal = decompose(torch.where(there, z, 0.0), there, season)
    for row in range(3):
        expected = decomposed_by_a_loop(z[row].numpy(), there[row].numpy(), season)
        np.testing.assert_allclose(trend[row], expected[0])
        np.testing.assert_allclose(seasonal[row], expected[1])


def test_seasonal_bootstrap_keeps_trend_and_season_and_draws_the_remainder_anew():
    steps = torch.arange(L, dtype=torch.float64)
    smooth = 0.3 * steps + 2 * torch.sin(steps * torch.pi / 2)
    noise = 0.2 * noisy(3000)
    found = curves_of(applied(SeasonalBootstrap(share=1.0), batch_of(smooth + noise)))
    middle = slice(SEASON, L - SEASON)  # at the ends the moving average has less to look at
    torch.testing.assert_close(found.mean(0)[middle], smooth[middle], rtol=0.0, atol=0.05)
    left, before = (found - smooth)[:, middle], noise[:, middle]
    assert float(left.std() / before.std()) == pytest.approx(1.0, abs=0.1)
    together = float((left * before).mean() / (left.std() * before.std()))
    assert together < 0.5  # of the remainder a new one; what the average took for trend stays


def test_seasonal_bootstrap_takes_blocks_of_the_remainder_as_they_were():
    z = noisy(20)
    found = curves_of(applied(SeasonalBootstrap(block=6, share=1.0), batch_of(z)))
    there = torch.ones_like(z, dtype=torch.bool)
    trend, seasonal = decompose(z, there, SEASON)
    remainder, drawn = z - trend - seasonal, found - trend - seasonal
    for row in range(20):
        source = (drawn[row].unsqueeze(1) - remainder[row]).abs().argmin(1)  # which step each one is
        torch.testing.assert_close(remainder[row][source], drawn[row])
        breaks = (source.diff() != 1).nonzero().flatten() + 1
        assert len(breaks) <= -(-L // 6) and (breaks.diff() % 6 == 0).all()


def test_seasonal_bootstrap_without_a_season_keeps_the_trend():
    line = torch.arange(L, dtype=torch.float64) + 0.3 * noisy(2000)
    for season in (1, L):  # unknown, and longer than half the window
        found = curves_of(applied(SeasonalBootstrap(share=1.0), batch_of(line), season=season))
        torch.testing.assert_close(found.mean(0)[4:-4], torch.arange(L, dtype=torch.float64)[4:-4], rtol=0.0, atol=0.05)
        assert float((found - line).std()) > 0.2


def test_seasonal_bootstrap_draws_nothing_from_a_missing_step():
    line = torch.arange(L, dtype=torch.float64)
    there = torch.rand(200, L, generator=generator(2)) < 0.7
    found = applied(SeasonalBootstrap(share=1.0), batch_of(line + 0.1 * noisy(200), there))
    assert (curves_of(found) - line)[there].abs().max() < 1.0


def test_frequency_noise_keeps_the_mean_and_about_the_spectrum():
    steps = torch.arange(L, dtype=torch.float64)
    z = 3 * torch.cos(steps * torch.pi / 4) + noisy(2000, level=5.0)
    batch = batch_of(z)
    found = curves_of(applied(FrequencyNoise(bins=1.0, size=0.3, phase=1.0, share=1.0), batch))
    torch.testing.assert_close(found.mean(1), z.mean(1))
    power, before = (torch.fft.rfft(one - one.mean(1, keepdim=True)).abs().square().mean(0)[1:-1] for one in (found, z))
    torch.testing.assert_close(power, before * (1 + 0.3**2), rtol=0.15, atol=0.0)


def waves_of(recipe):
    """(B, bins) complex: those of curves beside their straight line, after and before; without bin 0 and the fastest."""
    batch = batch_of(noisy(200))
    line = _straight_line(curves_of(batch), there_of(batch))
    found = curves_of(applied(recipe, batch))
    return tuple(torch.fft.rfft(one - line)[:, 1:-1] for one in (found, curves_of(batch)))


def test_frequency_noise_turns_phases_by_their_deviation_and_amplitudes_by_theirs():
    after, before = waves_of(FrequencyNoise(bins=1.0, size=0.0, phase=0.3, share=1.0))
    torch.testing.assert_close(after.abs(), before.abs())
    assert float((after / before).angle().std()) == pytest.approx(0.3, rel=0.05)
    after, before = waves_of(FrequencyNoise(bins=0.5, size=0.2, phase=0.0, share=1.0))
    ratio = after / before
    torch.testing.assert_close(ratio.imag, torch.zeros_like(ratio.imag))
    changed = (ratio.real - 1).abs() > 1e-9
    assert float(changed.double().mean()) == pytest.approx(0.5, abs=0.05)
    assert float((ratio.real - 1)[changed].std()) == pytest.approx(0.2, rel=0.05)


def test_frequency_noise_leaves_a_straight_line_and_the_bins_that_are_not_chosen():
    line = (2 * torch.arange(L, dtype=torch.float64) - 9).expand(4, -1)
    torch.testing.assert_close(curves_of(applied(FrequencyNoise(bins=1.0, share=1.0), batch_of(line))), line)
    batch = batch_of(noisy(4))
    torch.testing.assert_close(curves_of(applied(FrequencyNoise(bins=0.0, share=1.0), batch)), curves_of(batch))
