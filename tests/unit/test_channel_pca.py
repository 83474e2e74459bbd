"""channel_pca: broken relations between channels, and how scores of many channels become one, and blame."""

import numpy as np
import pytest

from tsforecast.errors import OptionError
from tsforecast.models.channel_pca import ChannelPCA, ChannelPCACore
from tsforecast.models.detector import Rows
from tsforecast.models.ensemble import Ensemble
from tsforecast.models.evidence import in_units, over_channels, units_of
from tsforecast.models.explaining import channel_weights
from tsforecast.models.fitted_detector import load_detector
from tsforecast.panel import FloatArray, Panel


def rows_with(values: FloatArray) -> Rows:
    return Rows(values=values, timestamps=np.arange(len(values)), freq=1, season=1)


def sensors(count: int, seed: int = 0) -> FloatArray:
    """Two channels that measure the same, one of its own, each of variance 1, (count, 3)."""
    rng = np.random.default_rng(seed)
    same = rng.normal(size=count)
    noise = rng.normal(0, 0.1, (count, 2))
    return np.stack([same + noise[:, 0], same + noise[:, 1], rng.normal(size=count)], axis=1)


def learnt(values: FloatArray, **options: object) -> ChannelPCACore:
    return ChannelPCA(**options).learn([rows_with(values)], seed=0, train=None, callbacks=())[0]  # type: ignore[arg-type]  # options of any kind


def panel_of(values: FloatArray) -> Panel:
    count, channels = values.shape
    return Panel(
        series_ids=("s",),
        offsets=np.asarray([0, count], dtype=np.int64),
        timestamps=np.arange(count, dtype=np.int64),
        target=values[:, 0].copy(),
        past_covariates=values[:, 1:].copy() if channels > 1 else None,
        past_covariate_names=tuple(f"c{c}" for c in range(1, channels)),
        freq=1,
        season=1,
    )


# The relation


def test_a_value_that_is_ordinary_for_its_channel_is_not_beside_channels_that_say_otherwise() -> None:
    core, values = learnt(sensors(2000), window=1), sensors(400, 1)
    values[200, :2] = 1.5, 1.5
    together = core.evidence(rows_with(values)).causal[0, 200]
    values[200, :2] = 1.5, -1.5
    apart = core.evidence(rows_with(values)).causal[0, 200]
    assert together[:2].max() < 3 < 50 < apart[:2].max()
    assert apart[2] == pytest.approx(together[2], abs=1.0)  # the third has nothing to do with it


def test_the_evidence_is_the_squared_difference_to_a_ridge_regression_on_the_other_channels() -> None:
    seen, ridge = sensors(1000), 0.2
    core = learnt(seen, window=1, ridge=ridge)
    common = seen.T @ seen / len(seen)
    np.fill_diagonal(common, 1.0)
    common += (ridge + 3 / 1000) * np.eye(3)
    values = sensors(50, 2)
    found = core.evidence(rows_with(values))
    assert found.causal.max() < 9  # above, channels are left out
    for c in range(3):
        others = [other for other in range(3) if other != c]
        slope = np.linalg.solve(common[np.ix_(others, others)], common[others, c])
        expected = values[:, others] @ slope
        variance = common[c, c] - common[c, others] @ slope
        np.testing.assert_allclose(found.expected[:, c], expected, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(found.causal[0, :, c], (values[:, c] - expected) ** 2 / variance, rtol=1e-9, atol=1e-12)


def test_a_channel_far_off_is_left_out_when_the_others_are_judged() -> None:
    rng = np.random.default_rng(0)
    same = rng.normal(size=(2000, 1)) + rng.normal(0, 0.3, (2000, 6))
    core, values = learnt(same, window=1), same[:50].copy()
    values[10, 2] += 8.0
    values[10, 4] -= 6.0
    found = core.evidence(rows_with(values))
    alone = learnt(same[:, [0, 1, 3, 5]], window=1).evidence(rows_with(values[:, [0, 1, 3, 5]]))
    assert found.causal[0, 10, [2, 4]].min() > 50
    np.testing.assert_allclose(found.causal[0, 10, [0, 1, 3, 5]], alone.causal[0, 10], rtol=0.05, atol=0.02)
    assert abs(found.expected[10, 4] - same[10, 4]) < 1.0


def test_of_one_channel_it_is_the_squared_standard_score() -> None:
    core = learnt(np.random.default_rng(0).normal(size=(500, 1)), window=1)
    values = np.random.default_rng(1).normal(size=(100, 1))
    found = core.evidence(rows_with(values))
    np.testing.assert_allclose(found.causal[0], values**2 / (1.03 + 1 / 500), rtol=1e-12)
    assert (found.expected == 0).all()


def test_a_channel_that_is_not_observed_is_expected_from_the_others_and_takes_no_part() -> None:
    core, values = learnt(sensors(2000), window=1), sensors(300, 3)
    holed = values.copy()
    holed[50:100, 0] = np.nan
    holed[60, :] = np.nan
    found = core.evidence(rows_with(holed))
    assert np.isnan(found.causal[0, 50:100, 0]).all() and np.isnan(found.causal[0, 60]).all()
    known = np.r_[50:60, 61:100]
    assert np.abs(found.expected[known, 0] - values[known, 0]).max() < 0.6  # the second channel tells it, to its noise
    two = learnt(sensors(2000)[:, 1:], window=1).evidence(rows_with(values[known, 1:]))
    np.testing.assert_allclose(found.causal[0, known, 1:], two.causal[0], rtol=0.02, atol=1e-3)


def test_channels_that_never_change_or_are_copies_of_each_other_are_no_trouble() -> None:
    seen = sensors(500)
    seen = np.concatenate([seen, seen[:, :1], np.zeros((500, 1))], axis=1)
    found = learnt(seen).evidence(rows_with(seen)).causal
    assert np.isfinite(found).all() and found[0, :, 4].max() == 0


def test_fewer_rows_than_channels_do_not_make_relations_up() -> None:
    rng = np.random.default_rng(0)
    found = learnt(rng.normal(size=(20, 40)), window=1).evidence(rows_with(rng.normal(size=(500, 40)))).causal[0]
    assert 0.2 < np.median(found.mean(axis=1)) < 3  # of independent channels it would be 1


def test_options_that_make_no_sense_are_refused() -> None:
    for options in ({"window": 0}, {"ridge": 0.0}, {"ridge": float("nan")}, {"ridge": True}):
        with pytest.raises(OptionError):
            ChannelPCA(**options)


# Many channels in one score


def test_a_channel_that_hardly_ever_changes_does_not_outshout_the_rest() -> None:
    evidence = np.random.default_rng(0).chisquare(1, (1, 1000, 5))
    evidence[0, :, 4] *= 1e-6
    evidence[0, 500, 4], evidence[0, 700, :2] = 1e-3, 30.0
    scores = over_channels(in_units(evidence, units_of(evidence)))
    assert scores.argmax() == 700 and scores[500] < np.quantile(scores, 0.999)


def test_several_channels_that_stand_out_count_more_than_one_that_stands_out_by_far() -> None:
    scores = np.zeros((3, 20))
    scores[0, 0], scores[1, :2], scores[2] = 1e4, 200.0, 7.0
    one, two, alike = over_channels(scores)
    assert two > one > alike and alike == pytest.approx(7.0)


def test_scores_of_one_channel_are_left_alone() -> None:
    scores = np.random.default_rng(0).normal(size=(50, 1))
    np.testing.assert_array_equal(over_channels(scores), scores[:, 0])
    evidence = np.random.default_rng(1).chisquare(1, (1, 50, 1))
    units = units_of(evidence)
    np.testing.assert_array_equal(in_units(evidence, units), (evidence[0] - units[0]) / units[1])


# Blame


def test_a_channel_that_has_been_odd_for_long_is_not_to_blame() -> None:
    scores = np.abs(np.random.default_rng(0).normal(size=(600, 3)))
    scores[:, 0] += 50.0  # odd all along
    scores[550:560, 2] += 20.0
    found = channel_weights(scores, 550, 559)
    assert found.argmax() == 2 and found[2] > 10 * found[0]
    early = channel_weights(scores, 5, 9)  # nothing to compare with
    np.testing.assert_allclose(early, scores[5:10].mean(axis=0))


def test_an_event_in_which_no_channel_rose_is_explained_by_its_scores() -> None:
    scores = np.full((600, 2), 30.0)
    scores[550:560] = [10.0, 20.0]
    np.testing.assert_array_equal(channel_weights(scores, 550, 559), [10.0, 20.0])


# In the ensemble


def test_the_ensemble_looks_at_relations_where_there_are_several_channels_only(tmp_path: object) -> None:
    recipe = Ensemble(members=("window_energy",))
    wide, narrow = (recipe.fit(panel_of(sensors(800)[:, :channels])) for channels in (3, 1))
    assert [kind.split(":")[0] for kind in wide.core.kinds] == ["window_energy", "channel_pca"]
    assert [kind.split(":")[0] for kind in narrow.core.kinds] == ["window_energy"]
    assert len(Ensemble(members=("window_energy",), across=None).fit(panel_of(sensors(800))).core.kinds) == 1
    later = sensors(300, 4)
    later[150:154, :2] = [1.5, -1.5]
    for one, values in ((wide, later), (narrow, later[:, :1])):
        again = load_detector(one.save(f"{tmp_path}/{len(one.core.kinds)}"))
        np.testing.assert_array_equal(again.scores(panel_of(values)), one.scores(panel_of(values)))
    assert abs(int(np.nanargmax(wide.scores(panel_of(later)))) - 152) <= 3


def test_weights_of_an_ensemble_are_those_of_its_members_and_1_across_channels() -> None:
    recipe = Ensemble(members=("window_energy", "local_level"), weights=(0.5, 2.0))
    assert recipe.fit(panel_of(sensors(400))).core.weights == (0.5, 2.0, 1.0)
    assert recipe.fit(panel_of(sensors(400)[:, :1])).core.weights == (0.5, 2.0)
    assert Ensemble(members=("window_energy", "autoencoder")).member_weights(channels=2) == (0.5, 0.5, 1.0)


def test_an_ensemble_across_channels_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(OptionError, match="across"):
        Ensemble(across="ensemble")
