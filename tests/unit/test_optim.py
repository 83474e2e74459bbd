"""Optimisers, learning rates and averages, each against torch's own, numbers worked out by hand, or a loop."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from tests.unit.test_train import CONFIG, Line, batches, loss, make_job, scripted, weights
from tsforecast.errors import OptionError
from tsforecast.nn.config import OPTIMIZERS
from tsforecast.nn.lr_finder import find_learning_rate
from tsforecast.nn.optim import MovingAverage, SnapshotAverage, make_average, make_optimizer, penalty, scheduled_rate
from tsforecast.nn.train import train_network

TORCH = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.05),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.8),
    "adagrad": lambda p: torch.optim.Adagrad(p, lr=0.05),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.05),
    "adam": lambda p: torch.optim.Adam(p, lr=0.05),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.05, weight_decay=0.0),
}
BARE = replace(CONFIG, weight_decay=0.0, momentum=0.8, clip_norm=0.0, warmup_steps=0, max_epochs=2)


class Still(nn.Module):
    """A line without dropout, so that a loop of its own sees the same losses."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 1)

    def forward(self, x):
        return self.layer(x)


def still_job(**options):
    job = make_job(**options)
    with torch.random.fork_rng():
        torch.manual_seed(2)
        job.network = Still()
    return job


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_training_takes_the_steps_of_torchs_own_optimizer_and_lowers_the_loss(name):
    job, twin = still_job(), still_job().network
    result = train_network(job, config=replace(BARE, optimizer=name), seed=0)
    optimizer = TORCH[name](twin.parameters())
    for epoch in (1, 2):
        for batch in batches(epoch, None):
            optimizer.zero_grad()
            loss(twin, batch).backward()
            optimizer.step()
    best = [line["train_loss"] for line in result.history]
    assert best[1] < best[0]
    torch.testing.assert_close(weights(job), torch.cat([p.detach().flatten() for p in twin.parameters()]), rtol=0, atol=1e-6)


def test_sgd_has_no_momentum_and_momentum_has_the_option():
    assert make_optimizer(Line(), replace(CONFIG, optimizer="sgd")).param_groups[0]["momentum"] == 0
    assert make_optimizer(Line(), replace(CONFIG, optimizer="momentum")).param_groups[0]["momentum"] == 0.9


def test_penalties_are_sums_over_weight_matrices_that_are_trained():
    network = Still()
    with torch.no_grad():
        network.layer.weight.copy_(torch.tensor([[3.0, -4.0]]))
        network.layer.bias.fill_(100.0)
    assert penalty(network, CONFIG) is None
    assert penalty(network, replace(CONFIG, l1=0.1)).item() == pytest.approx(0.7)
    assert penalty(network, replace(CONFIG, l1=0.1, l2=0.01)).item() == pytest.approx(0.7 + 0.25)
    network.layer.weight.requires_grad_(False)
    assert penalty(network, replace(CONFIG, l2=1.0)) is None


@pytest.mark.parametrize("name", ["l1", "l2"])
def test_a_penalty_makes_weights_smaller(name):
    free, held = still_job(), still_job()
    train_network(free, config=replace(BARE, max_epochs=10), seed=0)
    train_network(held, config=replace(BARE, max_epochs=10, **{name: 0.5}), seed=0)
    assert held.network.layer.weight.abs().sum() < 0.8 * free.network.layer.weight.abs().sum()


# Schedules: 10 epochs of 10 steps, height 1, floor 0.1


@pytest.mark.parametrize(
    ("schedule", "warmup", "rates"),
    [  # at steps 0, 20, 50, 99
        ("constant", 0, (1.0, 1.0, 1.0, 1.0)),
        ("constant", 40, (1 / 40, 21 / 40, 1.0, 1.0)),
        ("constant", None, (0.1, 1.0, 1.0, 1.0)),  # a tenth of 100 steps
        ("plateau", 40, (1 / 40, 21 / 40, 1.0, 1.0)),
        ("cosine", 0, (1.0, 0.914058, 0.55, 0.100222)),
        ("cosine", 20, (1 / 20, 1.0, 0.722208, 0.100347)),  # 0.55 + 0.45 cos(pi 30/80)
        ("one_cycle", None, (0.1, 0.914058, 0.55, 0.100222)),
        ("one_cycle", 40, (1 / 40, 0.914058 * 21 / 40, 0.55, 0.100222)),
        ("one_cycle", 0, (1.0, 0.914058, 0.55, 0.100222)),
    ],
)
def test_schedules_by_hand(schedule, warmup, rates):
    config = replace(
        CONFIG,
        schedule=schedule,
        warmup_steps=warmup,
        max_epochs=10,
        steps_per_epoch=10,
        min_learning_rate=0.1,
        learning_rate=1.0,
    )
    assert [scheduled_rate(config, step, height=1.0) for step in (0, 20, 50, 99)] == pytest.approx(rates, abs=1e-6)


def test_the_short_warmup_ends_after_fifty_steps_at_most():
    config = replace(CONFIG, max_epochs=100, steps_per_epoch=100)
    assert scheduled_rate(config, 0, height=1.0) == 1 / 50
    assert scheduled_rate(config, 49, height=1.0) == 1.0


def test_cosine_does_not_rise_to_a_floor_above_its_height():
    config = replace(CONFIG, schedule="cosine", warmup_steps=0, min_learning_rate=0.1)
    assert scheduled_rate(config, 23, height=0.01) == pytest.approx(0.01)


def test_training_uses_the_schedule():
    config = replace(CONFIG, schedule="cosine", warmup_steps=6)
    found = [line["learning_rate"] for line in train_network(make_job(), config=config, seed=0).history]
    assert found == pytest.approx([scheduled_rate(config, step, height=0.05) for step in (3, 7, 11, 15, 19, 23)])


# Averages


def test_the_moving_average_against_a_loop():
    network = Still()
    average = MovingAverage(network, 0.9)
    expected = network.layer.weight.detach().clone()
    for step in range(100):
        with torch.no_grad():
            network.layer.weight.add_(0.1 * (step % 3))
        average.after_step(step)
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * network.layer.weight.detach()
    torch.testing.assert_close(average.weights()["layer.weight"], expected)


def test_snapshots_are_the_mean_of_the_last_epochs():
    network = Still()
    average, seen = SnapshotAverage(network, 3), []
    assert torch.equal(average.weights()["layer.weight"], network.layer.weight)
    for epoch in range(5):
        with torch.no_grad():
            network.layer.weight.add_(epoch**2)
        average.after_step(epoch)
        average.after_epoch()
        seen.append(network.layer.weight.detach().clone())
        expected = sum(seen[-3:]) / len(seen[-3:])
        torch.testing.assert_close(average.weights()["layer.weight"], expected)


def test_a_network_with_counters_can_be_averaged():
    network = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    for average in (MovingAverage(network, 0.9), SnapshotAverage(network, 2)):
        for step in range(3):
            network(torch.ones(4, 2))
            average.after_step(step)
            average.after_epoch()
        live = network.state_dict()["1.num_batches_tracked"]
        assert average.weights()["1.num_batches_tracked"] == live
        with average.applied():
            assert network.state_dict()["1.num_batches_tracked"] == live


@pytest.mark.parametrize("average", ["ema", "snapshots"])
def test_validation_and_the_best_weights_are_the_average(average):
    validate, seen = scripted([3.0, 2.0, 1.0, 5.0, 4.0, 6.0])
    plain, live = scripted([1.0] * 6)
    job = make_job(validate=validate)
    train_network(job, config=replace(CONFIG, average=average, average_decay=0.9, snapshots=2), seed=0)
    train_network(make_job(validate=plain), config=replace(CONFIG, average="none"), seed=0)
    torch.testing.assert_close(weights(job), seen[2])
    if average == "snapshots":
        for epoch in range(1, 6):
            torch.testing.assert_close(seen[epoch], (live[epoch] + live[epoch - 1]) / 2)
    else:
        assert not torch.allclose(seen[2], live[2])


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"average_decay": 0.0}, "NoAverage"),
        ({"average_decay": 0.5}, "MovingAverage"),
        ({"average_decay": None}, "NoAverage"),
        ({"average_decay": 0.5, "average": "none"}, "NoAverage"),
        ({"average_decay": None, "average": "ema"}, "MovingAverage"),
        ({"average_decay": 0.5, "average": "snapshots"}, "SnapshotAverage"),
    ],
)
def test_which_average(options, kind):
    assert type(make_average(Still(), replace(CONFIG, **options))).__name__ == kind


# Search for a learning rate


def quadratic(network, batch):
    return (network.layer.weight - torch.tensor([[3.0, -2.0]])).square().sum() + network.layer.bias.square().sum()


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_the_search_finds_a_rate_that_trains_a_quadratic(optimizer):
    config = replace(BARE, optimizer=optimizer, max_epochs=25)
    found = find_learning_rate(still_job(loss=quadratic), config, seed=0, highest=10.0)
    assert 1e-3 < found.suggestion < 1.0  # gradient descent on w² diverges above 1
    assert found.suggestion in found.rates
    assert len(found.rates) == len(found.losses) <= 60
    job = still_job(loss=quadratic)
    history = train_network(job, config=replace(config, learning_rate=found.suggestion), seed=0).history
    assert history[-1]["train_loss"] < 0.05 * found.losses[0]


def test_the_search_ends_where_the_loss_runs_away():
    found = find_learning_rate(still_job(loss=quadratic), replace(BARE, optimizer="sgd"), seed=0, highest=1e4)
    assert found.rates[0] == pytest.approx(1e-6)
    assert found.rates[-1] < 100.0


def test_the_search_leaves_everything_as_it_was():
    job = make_job()
    job.frozen, job.frozen_epochs = lambda name: name.startswith("layers.0"), 1
    job.network.layers[0].eval()
    before, state = weights(job), torch.get_rng_state()
    modes = [module.training for module in job.network.modules()]
    first = find_learning_rate(job, CONFIG, seed=3)
    assert torch.equal(weights(job), before)
    assert torch.equal(torch.get_rng_state(), state)
    assert [module.training for module in job.network.modules()] == modes
    assert all(p.grad is None and p.requires_grad for p in job.network.parameters())
    assert find_learning_rate(job, CONFIG, seed=3) == first


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lowest": 1.0, "highest": 0.1}, r"lowest must lie between 0 and highest, got 1\.0 and 0\.1"),
        ({"lowest": 0.0}, "lowest must lie between 0 and highest"),
        ({"steps": 3}, "steps must be a whole number of at least 10, got 3"),
    ],
)
def test_a_search_without_a_range_is_refused(options, message):
    with pytest.raises(OptionError, match=message):
        find_learning_rate(make_job(), CONFIG, seed=0, **options)


def test_a_search_that_finds_nothing_says_so():
    def flat(network, batch):
        return 0.0 * network.layer.weight.sum() + 1.0

    with pytest.raises(OptionError, match="the loss falls at no learning rate from 1e-06 to 1"):
        find_learning_rate(still_job(loss=flat), BARE, seed=0)
    with pytest.raises(OptionError, match="epoch 1 of the job has no batches"):
        find_learning_rate(still_job(batches=lambda epoch, device: []), BARE, seed=0)
