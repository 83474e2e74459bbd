"""What callbacks see and do, on scripted validation losses."""

import re
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from tests.unit.test_train import CONFIG, make_job, scripted, weights
from tsforecast.errors import OptionError
from tsforecast.nn.callbacks import EarlyStopping, ModelCheckpoint, ReduceLROnPlateau, TrainingCallback
from tsforecast.nn.train import train_network

STEADY = replace(CONFIG, warmup_steps=0)


def run(losses, callbacks, config=STEADY, **options):
    """(result, job, weights seen by validation) of as many epochs as there are losses."""
    validate, seen = scripted(losses)
    job = make_job(validate=validate, **options)
    return train_network(job, config=replace(config, max_epochs=len(losses)), seed=0, callbacks=callbacks), job, seen


class Told(TrainingCallback):
    """Writes down what it is told."""

    def __init__(self, name, log):
        self.name, self.log = name, log

    def on_train_begin(self, state):
        self.log.append((self.name, "begin", state.epoch))

    def on_epoch_end(self, state):
        self.log.append((self.name, "epoch", state.epoch))

    def on_train_end(self, state):
        self.log.append((self.name, "end", state.epoch))


def test_callbacks_and_functions_are_called_in_the_order_given():
    log = []
    run([2.0, 1.0], [Told("a", log), lambda epoch, values: log.append(("f", "epoch", epoch)), Told("b", log)])
    one = [("a", "epoch", 1), ("f", "epoch", 1), ("b", "epoch", 1)]
    two = [("a", "epoch", 2), ("f", "epoch", 2), ("b", "epoch", 2)]
    assert log == [("a", "begin", 0), ("b", "begin", 0), *one, *two, ("a", "end", 2), ("b", "end", 2)]


def test_a_value_that_one_callback_adds_another_can_monitor():
    def add(epoch, values):
        values["coverage"] = [0.5, 0.9, 0.7, 0.6][epoch - 1]

    result, _, _ = run([4.0, 3.0, 2.0, 1.0], [add, EarlyStopping("coverage", patience=1, mode="max")])
    assert len(result.history) == 3
    assert result.stopped == "coverage was not better than 0.9 for 1 epochs"


@pytest.mark.parametrize(
    ("options", "epochs"),
    [({"patience": 2}, 4), ({"patience": 3}, 8), ({"patience": 2, "min_delta": 1.5}, 4), ({"patience": 1, "mode": "max"}, 2)],
)
def test_early_stopping_stops_at_the_exact_epoch(options, epochs):
    result, _, _ = run([3.0, 1.0, 2.0, 2.0, 0.5, 0.9, 0.6, 0.7, 0.1], [EarlyStopping(**options)])
    assert len(result.history) == epochs


def test_without_a_stop_there_is_no_reason():
    result, _, _ = run([3.0, 2.0], [EarlyStopping(patience=1)])
    assert result.stopped == ""


def test_reduce_on_plateau_changes_the_rate_after_the_same_epochs_as_torchs():
    losses = [3.0, 1.0, 2.0, 2.0, 1.5, 1.2, 1.3, 1.4, 0.5, 0.6, 0.7, 0.8]
    result, _, _ = run(losses, [ReduceLROnPlateau(factor=0.1, patience=1, min_lr=1e-4)], replace(STEADY, patience=20))
    found = [line["learning_rate"] for line in result.history]
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.05)
    twin = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.1, patience=1, threshold=0.0, min_lr=1e-4)
    expected = []
    for loss in losses:
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        twin.step(loss)
    assert found == pytest.approx(expected)
    assert found[:8] == pytest.approx([0.05] * 4 + [0.005] * 2 + [0.0005] * 2)
    assert found[8] == pytest.approx(1e-4)


def test_a_rate_set_by_a_callback_multiplies_the_schedule():
    class Halve(TrainingCallback):
        def on_epoch_end(self, state):
            assert state.learning_rate == state.values["learning_rate"]
            if state.epoch == 2:
                state.learning_rate *= 0.5
                assert state.learning_rate == 0.5 * state.values["learning_rate"]

    config = replace(STEADY, schedule="cosine")
    plain, _, _ = run([1.0] * 4, [], config)
    halved, _, _ = run([1.0] * 4, [Halve()], config)
    ratios = [b["learning_rate"] / a["learning_rate"] for a, b in zip(plain.history, halved.history, strict=True)]
    assert ratios == pytest.approx([1.0, 1.0, 0.5, 0.5])


def test_a_rate_of_zero_is_refused():
    class Zero(TrainingCallback):
        def on_epoch_end(self, state):
            state.learning_rate = 0.0

    with pytest.raises(OptionError, match=r"a callback set learning_rate to 0\.0; give it a positive number"):
        run([1.0], [Zero()])


@pytest.mark.parametrize("average", ["none", "ema", "snapshots"])
def test_the_best_file_holds_the_best_weights(tmp_path, average):
    config = replace(STEADY, average=average, average_decay=0.9)
    _, job, _ = run([3.0, 1.0, 2.0], [ModelCheckpoint(tmp_path / "a")], config)
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["best.safetensors"]
    stored = load_file(tmp_path / "a" / "best.safetensors")
    assert stored.keys() == job.network.state_dict().keys()
    for name, value in job.network.state_dict().items():
        assert torch.equal(stored[name], value)
    with safe_open(tmp_path / "a" / "best.safetensors", framework="pt") as file:
        assert file.metadata() == {"epoch": "2", "val_loss": "1.0"}


def test_every_epoch_has_a_file_where_all_are_kept(tmp_path):
    _, job, seen = run([3.0, 1.0, 2.0], [ModelCheckpoint(tmp_path, save_best_only=False)])
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"epoch-00{n}.safetensors" for n in (1, 2, 3)]
    for epoch in (1, 2, 3):
        job.network.load_state_dict(load_file(tmp_path / f"epoch-00{epoch}.safetensors"))
        assert torch.equal(weights(job), seen[epoch - 1])


def test_a_state_shows_the_weights_of_now_and_of_the_best_epoch_as_copies():
    seen = []

    class Look(TrainingCallback):
        def on_train_begin(self, state):
            assert state.best_weights() == {}
            assert state.values == {}

        def on_epoch_end(self, state):
            now, best = state.weights(), state.best_weights()
            seen.append((now["layers.0.weight"].clone(), best["layers.0.weight"].clone()))
            for value in (*now.values(), *best.values()):
                value.fill_(torch.nan)  # a copy, so this does no harm

    _, job, _ = run([3.0, 1.0, 2.0], [Look()])
    assert torch.equal(seen[1][0], seen[1][1])
    assert torch.equal(seen[2][1], seen[1][0])
    assert not torch.equal(seen[2][0], seen[2][1])
    assert torch.equal(job.network.layers[0].weight, seen[1][0])


def test_a_callback_used_twice_begins_anew():
    stop = EarlyStopping(patience=1)
    for _ in range(2):
        assert len(run([3.0, 1.0, 2.0, 2.0], [stop])[0].history) == 3


def test_a_stop_before_the_first_epoch_leaves_that_epoch():
    class Never(TrainingCallback):
        def on_train_begin(self, state):
            state.stop("enough")

    result, _, _ = run([3.0, 1.0], [Never()])
    assert (len(result.history), result.best_epoch, result.stopped) == (1, 1, "enough")


@pytest.mark.parametrize("make", [EarlyStopping, ReduceLROnPlateau, lambda monitor: ModelCheckpoint("nowhere", monitor)])
def test_a_monitor_that_is_not_there_names_those_that_are(make):
    message = "monitors 'val_los', which epoch 1 does not have; there are train_loss, learning_rate, .*, val_loss"
    with pytest.raises(OptionError, match=message):
        run([1.0], [make("val_los")])


def test_without_validation_the_message_shows_that_there_is_no_val_loss():
    with pytest.raises(OptionError, match=r"there are train_loss, learning_rate, windows_per_s, epoch_s$"):
        train_network(make_job(), config=STEADY, seed=0, callbacks=[EarlyStopping()])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: EarlyStopping(patience=0), "patience must be a whole number of at least 1, got 0"),
        (lambda: EarlyStopping(mode="down"), "mode must be min or max, got 'down'"),
        (lambda: EarlyStopping(min_delta=-1.0), r"min_delta must not be negative, got -1\.0"),
        (lambda: ReduceLROnPlateau(factor=1.0), r"factor must lie between 0 and 1, got 1\.0"),
        (lambda: ReduceLROnPlateau(min_lr=-1.0), r"min_lr must not be negative, got -1\.0"),
        (lambda: ReduceLROnPlateau(patience=1.5), r"patience must be a whole number of at least 0, got 1\.5"),
        (lambda: run([1.0], [EarlyStopping]), "callbacks has <class .*EarlyStopping'>; give functions of"),
        (lambda: run([1.0], [3]), re.escape("callbacks has 3; give functions of (epoch, values) or instances of")),
    ],
)
def test_a_bad_option_is_refused(make, message):
    with pytest.raises(OptionError, match=message):
        make()


# After a kill


class PowerCut(Exception):
    pass


class Cut(TrainingCallback):
    """The power fails in its call of one epoch, once."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_epoch_end(self, state):
        if state.epoch == self.epoch:
            raise PowerCut


SCRIPT = [3.0, 1.0, 2.0, 2.0, 1.5, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4, 1.5]


def guards(folder):
    return [ReduceLROnPlateau(factor=0.5, patience=1), ModelCheckpoint(folder), EarlyStopping(patience=4)]


@pytest.mark.parametrize("place", [0, 1, 3, "function"])
@pytest.mark.parametrize("cut", [1, 4, 5, 7, 9])
def test_callbacks_remember_over_a_kill_wherever_it_comes(tmp_path, cut, place):
    def log(epoch, values):
        told.append(epoch)
        if place == "function" and epoch == cut and len(told) == cut:
            raise PowerCut

    config = replace(STEADY, checkpoint_dir=str(tmp_path / "run"))
    whole, expected, _ = run(SCRIPT, guards(tmp_path / "whole"))
    told: list[int] = []
    first = [*guards(tmp_path / "cut"), log]
    if place != "function":
        first.insert(place, Cut(cut))
    validate, _ = scripted(SCRIPT)
    with pytest.raises(PowerCut):
        train_network(make_job(validate=validate), config=replace(config, max_epochs=12), seed=0, callbacks=first)

    second = [*guards(tmp_path / "cut"), log]
    if place != "function":
        second.insert(place, Cut(0))
    validate, _ = scripted(SCRIPT[cut:])
    job = make_job(validate=validate)
    result = train_network(job, config=replace(config, max_epochs=12), seed=0, callbacks=second)
    assert result.resumed_from == cut
    assert [line["learning_rate"] for line in result.history] == [line["learning_rate"] for line in whole.history]
    assert len(result.history) == len(whole.history) == 10
    assert result.stopped == whole.stopped == "val_loss was not better than 0.9 for 4 epochs"
    missed = [] if place == "function" else [cut]  # a function is never called again for an epoch that had ended
    assert told == [epoch for epoch in range(1, 11) if epoch not in missed]
    assert torch.equal(weights(job), weights(expected))
    for name, value in load_file(tmp_path / "whole" / "best.safetensors").items():
        assert torch.equal(load_file(tmp_path / "cut" / "best.safetensors")[name], value)


def test_a_training_that_stopped_stays_stopped_and_tells_no_epoch_again(tmp_path):
    config = replace(STEADY, checkpoint_dir=str(tmp_path))
    run(SCRIPT, [EarlyStopping(patience=2)], config)
    log = []
    result, _, seen = run(SCRIPT, [EarlyStopping(patience=2), Told("a", log)], config)
    assert (result.resumed_from, len(seen), result.stopped) == (4, 0, "val_loss was not better than 1.0 for 2 epochs")
    assert log == [("a", "begin", 4), ("a", "end", 4)]


def test_a_rate_set_at_the_beginning_is_not_set_twice(tmp_path):
    class Halve(TrainingCallback):
        def on_train_begin(self, state):
            state.learning_rate *= 0.5

    config = replace(STEADY, checkpoint_dir=str(tmp_path))
    with pytest.raises(PowerCut):
        run([1.0] * 4, [Halve(), Cut(2)], config)
    result, _, _ = run([1.0] * 4, [Halve()], config)
    assert [line["learning_rate"] for line in result.history] == pytest.approx([0.025] * 4)
