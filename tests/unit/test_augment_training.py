"""Augmentations in recipes and in a training: how they are named, and that only training sees them."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pipelines.tables import read_table
from tests.unit.augment_cases import SEASON, curves_of, same
from tsforecast.errors import OptionError, RecipeError
from tsforecast.models import feeding
from tsforecast.models.registry import build_model
from tsforecast.models.transfer import Start
from tsforecast.nn.augmentations import (
    AUGMENTATIONS,
    Augmentation,
    Jitter,
    Masking,
    Mixup,
    TimeWarp,
    build_augmentation,
)
from tsforecast.nn.config import TrainConfig
from tsforecast.panel import Panel
from tsforecast.tracking.runs import flat

# Recipes


def test_augmentations_are_built_by_name_and_say_their_names():
    for name, kind in AUGMENTATIONS.items():
        built = build_augmentation(name)
        assert isinstance(built, kind) and built.name == name and asdict(built)["name"] == name
    assert build_augmentation("jitter", size=0.2) == Jitter(size=0.2) != Jitter()


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("jiter", {}, "no augmentation 'jiter'; did you mean 'jitter'?; there are jitter, scaling"),
        ("jitter", {"sise": 1}, "augmentation 'jitter' has no option 'sise'; did you mean 'size'?; options: share, size"),
        ("jitter", {"size": -1}, "size must be a number from 0 to 10, got -1"),
        ("jitter", {"size": float("nan")}, "size must be a number from 0 to 10, got nan"),
        ("jitter", {"size": True}, "size must be a number from 0 to 10, got True"),
        ("jitter", {"share": 1.5}, "share must be a number from 0 to 1, got 1.5"),
        ("mixup", {"other": 0.6}, "other must be a number from 0 to 0.5, got 0.6"),
        ("window_slice", {"kept": 0.0}, "kept must be a number from 0.1 to 1, got 0.0"),
        ("masking", {"block": None}, "block must be a whole number from 1 to 1000000, got None"),
        ("masking", {"missing": 0.95}, "missing must be a number from 0 to 0.9, got 0.95"),
        ("time_warp", {"knots": 1}, "knots must be a whole number from 2 to 1000000, got 1"),
    ],
)
def test_a_wrong_name_or_option_is_told_with_the_way_out(name, options, message):
    with pytest.raises(OptionError) as caught:
        build_augmentation(name, **options)
    assert message in str(caught.value)


def test_only_augmentations_stand_in_the_options_of_a_training():
    for wrong in (("jitter",), [Jitter()], Jitter(), None):
        with pytest.raises(OptionError, match=r"train\.augment must be a tuple of augmentations, such as"):
            TrainConfig(augment=wrong)
    with pytest.raises(OptionError, match="name of Augmentation cannot be ''"):
        Augmentation()
    with pytest.raises(OptionError, match="name of Jitter cannot be 'mixup'; leave it out"):
        Jitter(name="mixup")


def read(*tables):
    return read_table(TrainConfig, {"augment": list(tables)}, file="x.toml").augment


def test_a_recipe_file_names_them_in_tables():
    assert read({"name": "jitter", "size": 1}, {"name": "masking", "block": 3}) == (Jitter(size=1.0), Masking(block=3))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"size": 1.0}, r"x.toml: augment\[0\].name is missing, it must be one of 'jitter', 'scaling'"),
        ({"name": "jiter"}, r"augment\[0\].name must be one of .*, got a text: 'jiter'; the nearest is 'jitter'"),
        ({"name": ["a"]}, r"augment\[0\].name must be one of .*, got list: \['a'\]"),
        ({"name": "masking", "size": 1.0}, r"unknown key 'augment\[0\].size'.*\(known here: name, share, missing, block\)"),
        ({"name": "mixup", "other": 2}, r"augment\[0\].other must be a number from 0 to 0.5, got 2.0"),
        ({"name": "masking", "block": "a"}, r"augment\[0\].block must be a whole number, got a text: 'a'"),
        ("jitter", r"augment\[0\] must be a table, got a text: 'jitter'"),
    ],
)
def test_a_wrong_table_is_named(table, message):
    with pytest.raises(RecipeError, match=message):
        read(table)


# Training


FAST = TrainConfig(max_epochs=3, steps_per_epoch=4, batch_size=16, accelerator="cpu", augment=(Jitter(), TimeWarp(), Mixup()))


def panel(series=3, length=80) -> Panel:
    rng = np.random.default_rng(0)
    return Panel(
        series_ids=tuple("abcdefgh"[:series]),
        offsets=np.arange(series + 1) * length,
        timestamps=np.tile(np.arange(length), series),
        target=np.tile(10 + 3 * np.sin(np.arange(length) * np.pi / 2), series) + rng.normal(0, 0.5, series * length),
        freq=1,
        season=SEASON,
    )


def fitted(train=FAST, seed=0):
    model = build_model("mlp", context=16, patch=4, hidden=8, layers=1, dropout=0.1)
    return model.fit(panel(), horizon=4, seed=seed, train=train)


def weights(predictor):
    return torch.cat([p.flatten() for p in predictor.network.parameters()])


def test_the_same_seed_gives_the_same_weights_and_another_augmentation_others():
    first = weights(fitted())
    assert torch.equal(first, weights(fitted()))
    assert not torch.equal(first, weights(fitted(replace(FAST, augment=()))))
    assert not torch.equal(first, weights(fitted(replace(FAST, augment=(Jitter(), TimeWarp(), Mixup(other=0.3))))))


def test_without_augmentations_nothing_is_computed_and_training_is_as_it_was(monkeypatch):
    train = replace(FAST, augment=())
    expected = weights(fitted(train))
    monkeypatch.setattr(feeding, "augment", None)  # cannot be called
    monkeypatch.setattr(feeding.Feed, "_augmented", lambda self, batch, *_, **__: batch)
    assert torch.equal(weights(fitted(train)), expected)


def test_only_training_batches_are_changed_and_season_and_series_are_told(monkeypatch):
    told, chances, training = [], [], []
    original = feeding.augment

    def spy(batch, recipes, generator, *, season, series):
        told.append((len(batch), season, tuple(series.unique().tolist())))
        chances.append(generator.initial_seed())
        return original(batch, recipes, generator, season=season, series=series)

    monkeypatch.setattr(feeding, "augment", spy)
    predictor = fitted()
    assert [size for size, _, _ in told] == [16] * 12  # 3 epochs of 4 batches; neither validation nor the first look
    assert {season for _, season, _ in told} == {SEASON}
    assert len(set(chances)) == 12  # each batch of each epoch has its own
    assert {number for _, _, numbers in told for number in numbers} == {0, 1, 2}
    monkeypatch.setattr(feeding, "augment", lambda *_, **__: training.append(1))
    predictor.predict(panel(), horizon=4)
    assert not training


def test_each_batch_of_each_epoch_has_its_own_chance_and_the_past_does_not_matter():
    model = build_model("mlp", context=16, patch=4, hidden=8, layers=1)
    feed = model._feed(panel(), horizon=4, seed=3, train=FAST, start=Start())
    cpu = torch.device("cpu")
    first = list(feed.batches(1, cpu))
    again = list(feed.batches(2, cpu)), list(feed.batches(1, cpu))
    assert all(same(a, b) for a, b in zip(first, again[1], strict=True))
    plain = replace_config(feed, ())
    noise = [
        (curves_of(a) - curves_of(b)) for a, b in zip(feed_with(feed, (Jitter(share=1.0),)), plain.batches(1, cpu), strict=True)
    ]
    assert not any(torch.allclose(noise[0], other) for other in noise[1:])


def replace_config(feed, augment):
    return replace(feed, config=replace(feed.config, augment=augment))


def feed_with(feed, augment):
    return replace_config(feed, augment).batches(1, torch.device("cpu"))


def test_a_training_that_was_killed_ends_with_the_weights_of_an_undisturbed_one(tmp_path: Path):
    class Killed(Exception):
        pass

    def kill(epoch):
        if epoch.number == 2:
            raise Killed

    kept = replace(FAST, checkpoint_dir=str(tmp_path))
    model = build_model("mlp", context=16, patch=4, hidden=8, layers=1, dropout=0.1)
    with pytest.raises(Killed):
        model.fit(panel(), horizon=4, train=kept, callbacks=[kill])
    epochs = []
    resumed = model.fit(panel(), horizon=4, train=kept, callbacks=[lambda epoch: epochs.append(epoch.number)])
    assert epochs == [3]
    assert torch.equal(weights(resumed), weights(fitted()))
    other = replace(kept, augment=(Jitter(), TimeWarp(), Mixup(other=0.3)))
    model.fit(panel(), horizon=4, train=other, callbacks=[lambda epoch: epochs.append(epoch.number)])
    assert epochs == [3, 1, 2, 3]  # another augmentation is another training


def test_a_model_knows_how_its_windows_were_changed_and_so_does_tracking(tmp_path: Path):
    predictor = fitted()
    predictor.save(tmp_path / "model")
    assert json.loads((tmp_path / "model" / "manifest.json").read_text())["values"]["augment"][0] == asdict(Jitter())
    assert "augment" not in fitted(replace(FAST, augment=())).values
    assert "'name': 'jitter'" in flat({"train": FAST})["train.augment"]
