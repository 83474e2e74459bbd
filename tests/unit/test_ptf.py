"""Networks of pytorch-forecasting behind our feeding: what goes in, what comes out, and what a TFT says it looked at."""

import subprocess
import sys
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import tsforecast
from tsforecast.errors import CovariateError, OptionError
from tsforecast.models.nhits import NHiTS
from tsforecast.models.ptf_adapter import PtfForecaster, PtfPredictor, PtfShape, fill_by_season, season_before
from tsforecast.models.ptf_deepar import DeepARNetwork, DeepARPredictor, PtfDeepAR, even_noise
from tsforecast.models.tft import TFT, TFTPredictor
from tsforecast.models.window_data import WindowData
from tsforecast.nn.config import TrainConfig
from tsforecast.nn.window_network import LEVELS, WindowBatch
from tsforecast.panel import Panel
from tsforecast.preprocessing.windows import last_windows

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")
H, SERIES, ROWS = 5, 4, 60
TRAIN = TrainConfig(
    max_epochs=2, steps_per_epoch=3, batch_size=32, learning_rate=1e-2, accelerator="cpu", threads=1, progress=False
)
RECIPES: dict[str, type[PtfForecaster]] = {"tft": TFT, "nhits": NHiTS, "ptf_deepar": PtfDeepAR}


@pytest.fixture(params=RECIPES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@lru_cache
def panel_with_everything() -> Panel:
    """Four daily series with a price and a noise known ahead, visits known until now, a size and a kind.

    What counts is how far the price is from its mean, so no straight line through it says anything.
    """
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "unique_id": np.repeat([f"s{i}" for i in range(SERIES)], ROWS),
            "ds": np.tile(pd.date_range("2024-01-01", periods=ROWS), SERIES),
            "y": np.zeros(SERIES * ROWS),
        }
    )
    price_and_noise = rng.normal(size=(len(frame), 2))
    return replace(
        tsforecast.panel_from_frame(frame, freq="D", season=7),
        target=20 + 5 * np.abs(price_and_noise[:, 0]) + rng.normal(0, 0.3, len(frame)),
        covariates=price_and_noise,
        covariate_names=("price", "noise"),
        past_covariates=rng.normal(size=(len(frame), 1)),
        past_covariate_names=("visits",),
        static_reals=np.arange(float(SERIES))[:, None],
        static_real_names=("size",),
        static_categories=(("shop",), ("stall",), ("shop",), ("web",)),
        static_category_names=("kind",),
    )


def future_of(seed: int = 1, steps: int = H) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(SERIES, steps, 2))


@lru_cache
def fitted(name: str) -> PtfPredictor:
    return RECIPES[name].tiny().fit(panel_with_everything(), horizon=H, seed=1, train=TRAIN)


def batch_of(predictor: PtfPredictor) -> WindowBatch:
    (batch,) = predictor.batches(panel_with_everything(), H, future_of())
    return batch


# Feeding


def test_a_hole_is_filled_as_a_season_ago_else_as_the_step_before_else_with_nothing() -> None:
    x = torch.tensor([[0.0, 2.0, 3.0, 0.0, 0.0, 6.0, 0.0]])
    seen = torch.tensor([[False, True, True, False, False, True, False]])
    filled, there = fill_by_season(x, seen, season=3)
    assert filled.tolist() == [[0.0, 2.0, 3.0, 3.0, 2.0, 6.0, 6.0]]  # places 0, 3, 6 of the season were never seen
    assert there.tolist() == [[False, True, True, True, True, True, True]]
    before = season_before(filled, season=3, horizon=4)
    assert before.tolist() == [[0.0, 0.0, 0.0, 0.0, 2.0, 3.0, 3.0, 2.0, 6.0, 6.0, 2.0]]


def base_at_first() -> list[float]:
    """What a fresh skip of season 2 says of 1.0, -2.0, 0.5, 3.0, (not seen), 1.5."""
    weights = np.exp([-3.0, -1.5, 0.0])  # of the last seasons at first
    return [weights @ [1.0, 0.5, 0.0] / weights[:2].sum(), weights @ [-2.0, 3.0, 1.5] / weights.sum()]


@pytest.mark.parametrize("recipe", [TFT.tiny(), NHiTS.tiny()], ids=["tft", "nhits"])
def test_a_quantile_network_says_what_theirs_says_of_the_same_numbers(recipe: PtfForecaster) -> None:
    """Two windows of six steps, in their own units, put together by hand, around the last season."""
    recipe = replace(recipe, context=6, scaling="none", space="linear")
    shape = PtfShape(context=6, reads=6, horizon=2, season=2)
    network = recipe.build_network(shape, seed=0).eval()
    past, seen = torch.tensor([[1.0, -2.0, 0.5, 3.0, 0.0, 1.5]]), torch.tensor([[True, True, True, True, False, True]])
    batch = WindowBatch(past.double(), seen, torch.zeros(1, 2), torch.ones(1, 2).bool(), torch.ones(1, 1).bool())
    value = [1.0, -2.0, 0.5, 3.0, 0.5, 1.5]
    before = [0.0, 0.0, 1.0, -2.0, 0.5, 3.0, 0.5, 1.5]  # of the two steps ahead too
    rows = [[np.arcsinh(value[t]), float(seen[0, t]), (t - 6) / 6, np.arcsinh(before[t])] for t in range(6)]
    ahead = [[0.0, 0.0, h / 6, np.arcsinh(before[6 + h])] for h in range(2)]
    x = {
        "encoder_cont": torch.tensor([rows], dtype=torch.float32),
        "decoder_cont": torch.tensor([ahead], dtype=torch.float32),
        "encoder_cat": torch.zeros(1, 6, 0, dtype=torch.int64),
        "decoder_cat": torch.zeros(1, 2, 0, dtype=torch.int64),
        "encoder_lengths": torch.tensor([6]),
        "decoder_lengths": torch.tensor([2]),
        "target_scale": torch.tensor([[0.0, 1.0]]),
    }
    raw = network.theirs(x)["prediction"]
    found, _ = network.answer(batch)
    assert raw.shape == found.shape == (1, 2, len(LEVELS))
    assert raw.abs().max() < 0.8  # a fresh network adds little to the skip
    base = base_at_first()
    middle = LEVELS.index(0.5)
    np.testing.assert_allclose(found[0, :, middle].numpy(force=True), raw[0, :, middle].numpy(force=True) + base, rtol=1e-5)
    step = torch.nn.functional.softplus(raw[..., middle + 1] - 1.5)
    np.testing.assert_allclose((found[..., middle + 1] - found[..., middle]).numpy(force=True), step.numpy(force=True), rtol=1e-4)


def test_each_covariate_goes_into_its_own_column(name: str) -> None:
    predictor, panel = fitted(name), panel_with_everything()
    network, batch = predictor.network, batch_of(predictor)
    feed, _ = network.feed(batch)
    reads_past = "past" in predictor.recipe.about.covariates
    columns = [panel.covariates[-16:, 0], panel.covariates[-16:, 1]] + [panel.past_covariates[-16:, 0]] * reads_past
    for i, column in enumerate(columns):
        known = (panel.covariates[:, i] if i < 2 else panel.past_covariates[:, 0]).copy()
        expected = (column - known.mean()) / known.std()
        np.testing.assert_allclose(feed["encoder_cont"][-1, :, 4 + i], expected, rtol=1e-4, atol=1e-5)
    price = (future_of()[-1, :, 0] - panel.covariates[:, 0].mean()) / panel.covariates[:, 0].std()
    np.testing.assert_allclose(feed["decoder_cont"][-1, :, 4], price, rtol=1e-4, atol=1e-5)
    size = (np.arange(4.0) - 1.5) / np.arange(4.0).std()
    np.testing.assert_allclose(feed["encoder_cont"][:, 0, -1], size, rtol=1e-5)
    assert feed["encoder_cat"][:, 0, 0].tolist() == [1, 2, 1, 3]  # by the alphabet; 0 is a kind never seen
    assert network.theirs.hparams.x_reals[4:] == ["known_0", "known_1", *["past_0"] * reads_past, "static_0"]


def test_what_a_model_reads_changes_its_forecast_and_what_it_does_not_read_is_left_out(name: str) -> None:
    panel, predictor = panel_with_everything(), fitted(name)
    plain = predictor.predict(panel, future=future_of()).median
    changes = {
        "known-future": predictor.predict(panel, future=future_of(seed=2)),
        "past": predictor.predict(replace(panel, past_covariates=panel.past_covariates + 1.0), future=future_of()),
        "static": predictor.predict(replace(panel, static_reals=panel.static_reals + 1.0), future=future_of()),
    }
    for kind, out in changes.items():
        moved = np.abs(out.median - plain).max() > 1e-6
        assert moved == (kind in predictor.recipe.about.covariates), kind


def test_a_category_never_seen_adds_nothing_and_all_such_are_alike(name: str) -> None:
    panel, predictor = panel_with_everything(), fitted(name)

    def of(word: str) -> np.ndarray:
        return predictor.predict(replace(panel, static_categories=((word,),) * SERIES), future=future_of()).quantiles

    np.testing.assert_array_equal(of("kiosk"), of("market"))
    assert np.isfinite(of("kiosk")).all()
    assert np.abs(of("kiosk") - of("shop")).max() > 1e-6
    tables = [weight for key, weight in predictor.network.state_dict().items() if key.endswith("embeddings.category_0.weight")]
    (table,) = tables  # (words + 1, width)
    assert (table[0] == 0).all() and (table[1:] != 0).any()


def test_the_future_of_a_covariate_may_have_no_hole(name: str) -> None:
    future = future_of()
    future[2, 3, 1] = np.nan
    with pytest.raises(CovariateError, match=r"covariate 'noise' of series 's2' is nan at step 4 of its future"):
        fitted(name).predict(panel_with_everything(), future=future)


def test_calendar_columns_are_known_ahead(name: str) -> None:
    panel = replace(panel_with_everything(), covariates=None, covariate_names=())
    predictor = replace(RECIPES[name].tiny(), calendar=True).fit(panel, horizon=H, train=TRAIN)
    assert (predictor.network.shape.known, predictor.network.shape.effects) == (6, 0)  # day of week, month and year
    assert np.isfinite(predictor.predict(panel, horizon=2).quantiles).all()


@pytest.mark.parametrize("horizon", [1, 2, 3, 20])
def test_any_horizon_can_be_reached(name: str, horizon: int) -> None:
    panel = panel_with_everything()
    predictor = RECIPES[name].tiny().fit(panel, horizon=horizon, train=replace(TRAIN, max_epochs=1, steps_per_epoch=1))
    assert predictor.predict(panel, future=future_of(steps=horizon)).quantiles.shape == (SERIES, horizon, 3)


def test_a_season_that_fits_only_once_into_the_context_is_not_used(name: str) -> None:
    panel = replace(panel_with_everything(), season=9)
    recipe = RECIPES[name].tiny()
    assert recipe.shape(panel, horizon=H, inputs=recipe.read_inputs(panel)).season == 1


# Storing and training


def test_a_stored_model_with_covariates_gives_the_same_numbers(name: str, tmp_path: Path) -> None:
    panel, predictor = panel_with_everything(), fitted(name)
    predictor.save(tmp_path)
    loaded = tsforecast.load_model(tmp_path).predictor
    np.testing.assert_array_equal(
        loaded.predict(panel, future=future_of()).quantiles, predictor.predict(panel, future=future_of()).quantiles
    )
    assert loaded.inputs == predictor.inputs and loaded.network.shape == predictor.network.shape


def test_loading_a_model_draws_no_random_numbers(name: str, tmp_path: Path) -> None:
    fitted(name).save(tmp_path)
    before = torch.get_rng_state()
    tsforecast.load_model(tmp_path)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_training_goes_on_from_its_checkpoint(name: str, tmp_path: Path) -> None:
    class Killed(Exception):
        pass

    def kill(_: object) -> None:
        raise Killed

    panel, train = panel_with_everything(), replace(TRAIN, checkpoint_dir=str(tmp_path))
    with pytest.raises(Killed):
        RECIPES[name].tiny().fit(panel, horizon=H, seed=1, train=train, callbacks=[kill])
    epochs: list[int] = []
    again = RECIPES[name].tiny().fit(panel, horizon=H, seed=1, train=train, callbacks=[lambda e: epochs.append(e.number)])
    assert epochs == [2]
    np.testing.assert_array_equal(
        again.predict(panel, future=future_of()).quantiles, fitted(name).predict(panel, future=future_of()).quantiles
    )


def test_nothing_is_taken_over_from_another_fit(name: str) -> None:
    with pytest.raises(OptionError, match=f"model '{name}' is fitted afresh each time and cannot start from another"):
        RECIPES[name].tiny().fit(panel_with_everything(), horizon=H, train=TRAIN, start_from=fitted(name))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden": 0}, "hidden must be a positive whole number, got 0"),
        ({"context": 2.5}, "context must be a positive whole number, got 2.5"),
        ({"dropout": 1.0}, r"dropout must lie in \[0, 1\), got 1.0"),
        ({"space": "log"}, "space must be auto or linear, got 'log'"),
        ({"scaling": "max"}, "scaling must be robust, standard, mean_abs or none, got 'max'"),
    ],
)
def test_impossible_options_are_refused(name: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        tsforecast.build_model(name, **options)


def test_impossible_options_of_one_model_are_refused() -> None:
    with pytest.raises(OptionError, match="heads must divide hidden 32, got 5"):
        TFT(heads=5)
    with pytest.raises(OptionError, match="stacks must be a positive whole number, got True"):
        NHiTS(stacks=True)
    with pytest.raises(OptionError, match="draws must be at least 2, got 1"):
        PtfDeepAR(draws=1)


def test_reading_about_the_models_does_not_load_pytorch_forecasting() -> None:
    code = (
        "import sys; from tsforecast.models.registry import model_class;"
        "[model_class(name).tiny().about for name in ('tft', 'nhits', 'ptf_deepar')]; print('pytorch_forecasting' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


# Temporal Fusion Transformer


@lru_cache
def well_trained() -> TFTPredictor:
    train = replace(TRAIN, max_epochs=6, steps_per_epoch=10, batch_size=64, learning_rate=2e-2)
    recipe = TFT(context=16, hidden=8, heads=2, dropout=0.0)
    predictor = recipe.fit(panel_with_everything(), horizon=H, train=train)
    assert isinstance(predictor, TFTPredictor)
    return predictor


def test_a_tft_looks_more_at_a_covariate_that_matters_than_at_noise() -> None:
    said = well_trained().interpret(panel_with_everything(), future=future_of())
    assert list(said.decoder_importance) == ["step", "season_ago", "price", "noise"]
    assert list(said.encoder_importance) == ["value", "seen", "step", "season_ago", "price", "noise", "visits"]
    assert list(said.static_importance) == ["kind", "size"]
    assert said.decoder_importance["price"] > 2 * said.decoder_importance["noise"]
    assert said.attention.shape == (16,)
    for shares in (said.encoder_importance, said.decoder_importance, said.static_importance):
        assert sum(shares.values()) == pytest.approx(1.0) and min(shares.values()) >= 0
    assert said.attention.sum() == pytest.approx(1.0) and said.attention.min() >= 0


def test_what_a_tft_says_is_what_their_code_makes_of_its_output() -> None:
    predictor = well_trained()
    batch = batch_of(predictor)
    with torch.inference_mode():
        out = predictor.network.call(predictor.network.feed(batch)[0])
        theirs = predictor.network.theirs.interpret_output(out, reduction="none")
    said = predictor.interpret(panel_with_everything(), future=future_of())
    for shares, key in ((said.encoder_importance, "encoder_variables"), (said.decoder_importance, "decoder_variables")):
        np.testing.assert_allclose(list(shares.values()), theirs[key].mean(0), rtol=1e-5)
    np.testing.assert_allclose(list(said.static_importance.values()), theirs["static_variables"].mean(0), rtol=1e-5)


def test_a_straight_effect_stands_beside_the_shares() -> None:
    panel = panel_with_everything()
    straight = panel.with_target(20 + panel.covariates @ [3.0, 0.0] + np.random.default_rng(3).normal(0, 0.3, len(panel.target)))
    recipe = replace(TFT.tiny(), space="linear", scaling="none")
    said = recipe.fit(straight, horizon=H, train=TRAIN).interpret(straight, future=future_of())
    deviation = panel.covariates[:, 0].std()
    assert said.effects["price"] == pytest.approx(3.0 * deviation, rel=0.1)
    assert abs(said.effects["noise"]) < 0.2


def test_without_covariates_there_is_nothing_static_to_look_at() -> None:
    plain = panel_with_everything()
    plain = replace(plain, covariates=None, covariate_names=(), past_covariates=None, past_covariate_names=())
    plain = replace(plain, static_reals=None, static_real_names=(), static_categories=(), static_category_names=())
    said = TFT.tiny().fit(plain, horizon=H, train=TRAIN).interpret(plain)
    assert said.static_importance == {} and said.effects == {}
    assert list(said.decoder_importance) == ["step", "season_ago"]


# DeepAR


def deepar() -> tuple[DeepARPredictor, DeepARNetwork]:
    predictor = fitted("ptf_deepar")
    assert isinstance(predictor, DeepARPredictor) and isinstance(predictor.network, DeepARNetwork)
    return predictor, predictor.network


def test_deepar_says_what_theirs_says_of_the_same_differences() -> None:
    """One window of six steps and two ahead, in its own units, put together by hand."""
    recipe = replace(PtfDeepAR.tiny(), context=6, scaling="none", space="linear")
    network = recipe.build_network(PtfShape(context=6, reads=6, horizon=2, season=2), seed=0).eval()
    assert isinstance(network, DeepARNetwork)
    past, seen = torch.tensor([[1.0, -2.0, 0.5, 3.0, 0.0, 1.5]]), torch.tensor([[True, True, True, True, False, True]])
    ahead, known = torch.tensor([[2.0, 0.0]]), torch.tensor([[True, False]])
    batch = WindowBatch(past.double(), seen, ahead.double(), known, torch.ones(1, 1).bool())
    before = [0.0, 0.0, 1.0, -2.0, 0.5, 3.0, 0.5, 1.5]
    to_come = 2.0 - base_at_first()[0]  # less what the last seasons say
    value = [0.0, 0.0, -0.5, 5.0, 0.0, -1.5, to_come, 0.0]  # less one season before; the two steps ahead too
    seen_before = [0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0]  # was there a difference in the step before?
    rows = [[value[t], seen_before[t], (t - 6) / 6, np.arcsinh(before[t])] for t in range(8)]
    x = {
        "encoder_cont": torch.tensor([rows[:6]], dtype=torch.float32),
        "decoder_cont": torch.tensor([rows[6:]], dtype=torch.float32),
        "encoder_cat": torch.zeros(1, 6, 0, dtype=torch.int64),
        "decoder_cat": torch.zeros(1, 2, 0, dtype=torch.int64),
        "encoder_lengths": torch.tensor([6]),
        "decoder_lengths": torch.tensor([2]),
        "target_scale": torch.tensor([[0.0, 1.0]]),
    }
    theirs = network.theirs(x)["prediction"]  # (1, 2, 4)
    found = network(network.feed(batch, ahead, known)[0])
    np.testing.assert_allclose(found.numpy(force=True), theirs.numpy(force=True), rtol=1e-5)
    _, _, location, deviation = theirs[0, 0]
    likelihood = 0.5 * ((to_come - location) / deviation) ** 2 + deviation.log() + 0.5 * np.log(2 * np.pi)  # of one step
    assert network.loss(network, batch).item() == pytest.approx(likelihood.item(), rel=1e-5)


def test_a_step_of_deepar_sees_the_true_values_before_it_and_no_later_one() -> None:
    _, network = deepar()
    batch = batch_of(fitted("ptf_deepar"))
    ahead, known = torch.zeros(SERIES, H), torch.ones(SERIES, H, dtype=torch.bool)
    plain = network(network.feed(batch, ahead, known)[0])
    for step in range(H):
        other = ahead.clone()
        other[:, step] += 2.0
        moved = (network(network.feed(batch, other, known)[0]) - plain).abs().amax((0, 2)) > 1e-6
        assert moved.tolist() == [later > step for later in range(H)]


def test_the_first_drawn_step_has_the_distribution_that_training_sees() -> None:
    _, network = deepar()
    batch = batch_of(fitted("ptf_deepar"))
    feed, _ = network.feed(batch, torch.zeros(SERIES, H), torch.ones(SERIES, H, dtype=torch.bool))
    location, deviation = network.theirs(feed)["prediction"][:, 0, 2:].T
    noise = even_noise(H, 400)
    drawn = network.paths(batch, noise)[0][:, 0] - feed["base"][:, :1]  # (B, N)
    expected = location[:, None] + deviation[:, None] * noise[0]
    np.testing.assert_allclose(drawn.numpy(force=True), expected.numpy(force=True), rtol=1e-3, atol=1e-4)
    likelihood = -torch.distributions.Normal(location, deviation).log_prob(feed["later"][:, 0])
    theirs = network.theirs.loss.loss(network.theirs(feed)["prediction"], feed["later"])[:, 0]
    np.testing.assert_allclose(theirs.numpy(force=True), likelihood.numpy(force=True), rtol=1e-5)


def test_paths_of_a_series_depend_on_the_seed_and_its_name_only() -> None:
    predictor, _ = deepar()
    panel = panel_with_everything()
    paths = predictor.sample_paths(panel, count=30, seed=4, future=future_of())
    assert paths.shape == (SERIES, 30, H)
    np.testing.assert_array_equal(predictor.sample_paths(panel, count=30, seed=4, future=future_of()), paths)
    alone = predictor.sample_paths(panel.select([2]), count=30, seed=4, future=future_of()[[2]])
    np.testing.assert_allclose(alone[0], paths[2], rtol=1e-5)
    assert np.abs(predictor.sample_paths(panel, count=30, seed=5, future=future_of()) - paths).max() > 0.1
    one = predictor.sample_paths(panel, count=1, horizon=2, future=future_of()[:, :2])
    assert one.shape == (SERIES, 1, 2)
    ranks = paths.argsort(1).argsort(1)[:, :, 0]
    assert abs(np.corrcoef(ranks[0], ranks[1])[0, 1]) < 0.6  # two series do not have the same luck
    with pytest.raises(OptionError, match="count must be a positive number of paths, got 0"):
        predictor.sample_paths(panel, count=0, future=future_of())


def test_quantiles_are_those_of_the_paths() -> None:
    predictor, _ = deepar()
    panel = panel_with_everything()
    paths = predictor.sample_paths(panel, count=2000, future=future_of())
    out = predictor.predict(panel, quantile_levels=(0.1, 0.5, 0.9), future=future_of())
    spread = out.quantiles[..., 2] - out.quantiles[..., 0]
    found = np.quantile(paths, (0.1, 0.5, 0.9), axis=1).transpose(1, 2, 0)
    assert (np.abs(found - out.quantiles) / spread[..., None]).max() < 0.2  # 50 draws against 2000


def test_even_noise_is_spread_evenly_and_in_another_order_in_each_step() -> None:
    noise = even_noise(3, 100)
    np.testing.assert_allclose(noise.sort(1).values, noise.sort(1).values[:1].expand(3, -1))
    assert noise.mean().abs() < 1e-6 and abs(float(noise.std()) - 1) < 0.05
    assert abs(np.corrcoef(noise.numpy())[0, 1]) < 0.3


def test_a_long_training_on_a_constant_series_keeps_a_deviation() -> None:
    _, network = deepar()
    far_below = torch.tensor([[[0.0, -200.0]]])
    found = network.theirs.loss.rescale_parameters(far_below, torch.tensor([[0.0, 1.0]]), network.theirs.output_transformer)
    assert float(found[0, 0, 3]) == pytest.approx(1e-3)


def test_windows_before_the_start_of_a_series_are_gaps_like_any_other() -> None:
    panel = panel_with_everything().select([0])
    network = fitted("ptf_deepar").network
    short = panel.tail(6)
    data = WindowData(short, CPU, context=16, horizon=0, inputs=fitted("ptf_deepar").inputs, future=np.zeros((1, H, 2)))
    feed, _ = network.feed(data.gather(last_windows(short)))
    assert feed["encoder_lengths"].tolist() == [16]
    assert not feed["encoder_cont"][0, :, 1].any()  # six values, none of them with one a season of seven before


def test_a_network_reads_the_last_steps_of_a_context_that_the_skip_sees_whole() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(10, 1, 400)
    panel = tsforecast.panel_from_frame(pd.DataFrame({"ds": np.arange(400), "y": values}), freq=1, season=24)
    predictor = TFT(hidden=4, heads=1, dropout=0.0).fit(panel, horizon=4, train=TRAIN)
    assert (predictor.network.shape.context, predictor.network.shape.reads) == (336, 168)
    with torch.inference_mode():
        batch = next(iter(predictor.batches(panel, 4, None)))
        feed, _ = predictor.network.feed(batch)  # type: ignore[operator]
        assert feed["encoder_cont"].shape[1] == 168
        np.testing.assert_allclose(feed["encoder_cont"][0, :, 0], torch.asinh(feed["filled"])[0, -168:])
    far = values.copy()
    far[-300] += 1.0
    other = predictor.predict(panel.with_target(far)).quantiles
    assert not np.array_equal(other, predictor.predict(panel).quantiles)


def test_intervals_of_a_network_that_hardly_learned_are_mended() -> None:
    rng = np.random.default_rng(0)
    noise = [rng.normal(0, 1.0, 400) for _ in range(30)]
    rows = [pd.DataFrame({"unique_id": f"s{i}", "ds": np.arange(392), "y": y[:392]}) for i, y in enumerate(noise)]
    panel = tsforecast.panel_from_frame(pd.concat(rows), freq=1, season=1)
    actual = np.stack([y[392:] for y in noise])

    def coverage(calibrate: bool) -> float:
        predictor = replace(NHiTS.tiny(), calibrate=calibrate, context=32).fit(panel, horizon=8, train=TRAIN)
        low, _, high = np.moveaxis(predictor.predict(panel, quantile_levels=(0.1, 0.5, 0.9)).quantiles, -1, 0)
        return float(((actual >= low) & (actual <= high)).mean())

    assert abs(coverage(True) - 0.8) < 0.07
    assert abs(coverage(False) - 0.8) > 0.1
