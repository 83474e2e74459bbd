"""What the cores of the networks differ in: order of steps, reach, forms, stacks."""

import numpy as np
import pytest
import torch

from tsforecast.errors import OptionError, SchemaError
from tsforecast.models.registry import available_models, build_model, model_class
from tsforecast.models.window_forecaster import WindowForecaster
from tsforecast.nn.config import TrainConfig
from tsforecast.panel import FloatArray, Panel

PERIOD = 6  # not the season of the panel, so that no skip helps
TRAIN = TrainConfig(max_epochs=8, steps_per_epoch=30, batch_size=64, learning_rate=1e-2, accelerator="cpu", threads=1)
NETWORKS = [name for name in available_models() if issubclass(model_class(name), WindowForecaster)]
FORMS = {
    "cnn/plain": {"stack": "plain"},
    "cnn/vgg": {"stack": "vgg"},
    "cnn/inception": {"stack": "inception"},
    "cnn/depthwise": {"stack": "depthwise"},
    "transformer/encoder_decoder": {"form": "encoder_decoder", "heads": 2},
    "transformer": {"heads": 2},
    "seq2seq/forward": {"bidirectional": False},
}


def small(form: str, **options: object) -> WindowForecaster:
    sizes = {"context": 24, "patch": None if form == "deepar" else 4, "hidden": 16, "layers": 1, "dropout": 0.0}
    model = build_model(form.split("/")[0], **{**sizes, **FORMS.get(form, {}), **options})
    assert isinstance(model, WindowForecaster)
    return model


def turning(count: int, length: int, *, seed: int) -> list[FloatArray]:
    """A pattern of six different values that goes round, begun anywhere."""
    rng = np.random.default_rng(seed)
    pattern = np.array([0.0, 4.0, 1.0, 6.0, 2.0, 9.0])
    return [20 + pattern[(np.arange(length) + rng.integers(PERIOD)) % PERIOD] + rng.normal(0, 0.1, length) for _ in range(count)]


def panel_of(targets: list[FloatArray]) -> Panel:
    return Panel(
        series_ids=tuple(f"s{i}" for i in range(len(targets))),
        offsets=np.concatenate([[0], np.cumsum([len(y) for y in targets])]).astype(np.int64),
        timestamps=np.concatenate([np.arange(len(y)) for y in targets]).astype(np.int64),
        target=np.concatenate(targets),
        freq=1,
        season=1,
    )


@pytest.mark.parametrize("form", sorted({*NETWORKS, *FORMS}))
def test_each_step_ahead_gets_its_own_value(form: str) -> None:
    """Steps in the wrong order, or shifted by one, would be wrong by several units."""
    horizon = 7
    predictor = small(form).fit(panel_of(turning(8, 120, seed=0)), horizon=horizon, train=TRAIN)
    whole = turning(12, 120 + horizon, seed=1)
    found = predictor.predict(panel_of([y[:120] for y in whole])).median
    error = np.abs(found - np.stack([y[120:] for y in whole])).mean(0)  # (H,)
    assert error.max() < 1.5, error


@pytest.mark.parametrize("context", [16, 50, 96, 400])
@pytest.mark.parametrize("patch", [1, 4])
def test_a_tcn_sees_the_whole_context_whatever_its_length(context: int, patch: int) -> None:
    recipe = small("tcn", context=context, patch=patch)
    shape = recipe.shape(season=1, horizon=2)
    network = recipe.build_network(shape, seed=0)
    z = torch.randn(1, shape.patches, 16, requires_grad=True)
    network.core(z).sum().backward()
    assert z.grad is not None and (z.grad.abs().sum(-1) > 0).all()  # the oldest patch moves the state


@pytest.mark.parametrize("name", ["gru", "tcn", "transformer", "cnn", "mlp"])
def test_the_newest_patch_reaches_every_step(name: str) -> None:
    recipe = small(name)
    network = recipe.build_network(recipe.shape(season=1, horizon=5), seed=0).eval()
    x = torch.randn(1, 24, requires_grad=True)
    from tsforecast.nn.window_network import WindowBatch

    seen = torch.ones(1, 24, dtype=torch.bool)
    batch = WindowBatch(past=x.detach().double(), seen=seen, future=torch.zeros(1, 5), known=seen[:, :5], signed=seen[:, :1])
    raw, _ = network(x, batch)
    for step in range(5):
        (gradient,) = torch.autograd.grad(raw[0, step].sum(), x, retain_graph=True)
        assert gradient[0, -4:].abs().min() > 0, f"step {step + 1} does not see the newest values"


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("cnn", {"stack": "unet"}, "stack must be one of plain, vgg, inception, resnet, depthwise, got 'unet'"),
        ("cnn", {"kernel": 4}, "kernel must be an odd whole number, got 4"),
        ("cnn", {"pooling": "median"}, "pooling must be one of"),
        ("tcn", {"kernel": 1}, "kernel must be a whole number of at least 2, got 1"),
        ("transformer", {"heads": 3}, r"heads must divide hidden \(128\), got 3"),
        ("transformer", {"form": "decoder"}, "form must be encoder or encoder_decoder, got 'decoder'"),
        ("seq2seq", {"bidirectional": 1}, "bidirectional must be true or false, got 1"),
        ("mlp", {"activation": "step"}, "no activation 'step'"),
        ("gru", {"head": "gaussian"}, "head must be one of .*normal.*, got 'gaussian'"),
        ("gru", {"skip": "first"}, "skip must be one of season, last, none, got 'first'"),
        ("gru", {"calendar": "yes"}, "calendar must be true or false, got 'yes'"),
    ],
)
def test_bad_options_are_refused_by_name(name: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        build_model(name, **options)


@pytest.mark.parametrize("name", ["mlp", "deepar"])
def test_counts_below_zero_are_refused_by_name(name: str) -> None:
    panel = panel_of([np.arange(60.0), np.arange(60.0) - 3])
    with pytest.raises(SchemaError, match=r"series 's1' has a target of -3, head 'poisson' is of numbers from 0 on"):
        small(name, head="poisson").fit(panel, horizon=3, train=TRAIN)


def test_a_learning_rate_is_found_on_the_data_it_is_for() -> None:
    panel = panel_of(turning(4, 120, seed=0))
    search = small("gru").find_learning_rate(panel, horizon=3, train=TRAIN, steps=40)
    assert 1e-4 < search.suggestion < 0.3 and len(search.rates) == len(search.losses)
    with pytest.raises(OptionError, match="steps must be a whole number of at least 10, got 3"):
        small("gru").find_learning_rate(panel, horizon=3, steps=3)
