"""The training loop, on a network so small that its course can be followed."""

import itertools
import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tsforecast.errors import OptionError, TrainingDiverged
from tsforecast.nn.config import CHOICES, OPTIMIZERS, TrainConfig
from tsforecast.nn.optim import make_optimizer
from tsforecast.nn.train import CHECKPOINT, Job, train_network

CONFIG = TrainConfig(
    max_epochs=6,
    steps_per_epoch=4,
    batch_size=8,
    learning_rate=0.05,
    patience=10,
    schedule="constant",
    average_decay=0.0,
    accelerator="cpu",
)


class Line(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2, 4), nn.Dropout(0.2), nn.Linear(4, 1))

    def forward(self, x):
        return self.layers(x)


def batches(epoch, device):
    rng = np.random.default_rng(epoch)
    for _ in range(4):
        x = torch.from_numpy(rng.normal(size=(8, 2)).astype("float32"))
        yield torch.cat([x, x.sum(1, keepdim=True)], dim=1)


def loss(network, batch):
    return (network(batch[:, :2]) - batch[:, 2:]).square().mean()


def make_job(*, validate=None, identity="x", loss=loss, batches=batches) -> Job:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return Job(network=Line(), batches=batches, loss=loss, validate=validate, identity=identity)


def weights(job):
    return torch.cat([p.detach().flatten() for p in job.network.parameters()])


def scripted(losses):
    """Validation that returns what the script says, and the weights it saw."""
    seen, script = [], iter(losses)

    def validate(network, device):
        seen.append(torch.cat([p.detach().flatten().clone() for p in network.parameters()]))
        return next(script)

    return validate, seen


def test_the_loss_falls():
    result = train_network(make_job(), config=replace(CONFIG, max_epochs=30), seed=0)
    assert result.history[-1]["train_loss"] < 0.3 * result.history[0]["train_loss"]


@pytest.mark.parametrize("decay", [0.0, 0.9])
def test_the_weights_kept_are_those_of_the_best_epoch(decay):
    validate, seen = scripted([3.0, 1.0, 2.0, 5.0, 4.0, 6.0])
    job = make_job(validate=validate)
    result = train_network(job, config=replace(CONFIG, average_decay=decay), seed=0)
    assert (result.best_epoch, result.best_loss) == (2, 1.0)
    torch.testing.assert_close(weights(job), seen[1])
    assert not torch.allclose(seen[1], seen[-1])


def test_patience_stops_and_counts_from_the_best_epoch():
    validate, seen = scripted([3.0, 1.0, 2.0, 2.0, 0.5, 0.1])
    result = train_network(make_job(validate=validate), config=replace(CONFIG, patience=2), seed=0)
    assert len(seen) == 4
    assert result.best_epoch == 2


def test_plateau_cuts_the_learning_rate_but_not_below_its_floor():
    validate, _ = scripted([1.0] * 6)
    config = replace(
        CONFIG, schedule="plateau", plateau_patience=1, plateau_factor=0.1, min_learning_rate=2e-3, clip_norm=0.0, patience=10
    )
    rates = [line["learning_rate"] for line in train_network(make_job(validate=validate), config=config, seed=0).history]
    assert rates[2] == pytest.approx(0.05)
    assert rates[3] == pytest.approx(5e-3)
    assert rates[5] == pytest.approx(2e-3)


def test_one_cycle_warms_up_and_comes_down():
    rates = []
    config = replace(CONFIG, schedule="one_cycle", max_epochs=20)
    train_network(make_job(), config=config, seed=0, callbacks=[lambda _, values: rates.append(values["learning_rate"])])
    assert rates[0] < max(rates)
    assert rates[-1] < 0.05 * max(rates)


def test_gradients_are_clipped():
    def huge(network, batch):
        return 1e6 * loss(network, batch)

    job = make_job(loss=huge)
    before = weights(job)
    config = replace(CONFIG, optimizer="sgd", max_epochs=1, clip_norm=0.1, learning_rate=0.01, weight_decay=0.0)
    train_network(job, config=config, seed=0)
    assert (weights(job) - before).norm() <= 4 * 0.1 * 0.01 * 10  # four steps, momentum 0.9


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_trains(name):
    job = make_job()
    before = weights(job)
    train_network(job, config=replace(CONFIG, optimizer=name, max_epochs=1), seed=0)
    assert not torch.equal(weights(job), before)


def test_biases_are_not_decayed():
    groups = make_optimizer(Line(), CONFIG).param_groups
    assert [p.ndim for p in groups[1]["params"]] == [1, 1]
    assert (groups[0]["weight_decay"], groups[1]["weight_decay"]) == (1e-4, 0.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optimizer": "adamm"}, r"train\.optimizer must be one of adam, .*, got 'adamm'"),
        ({"schedule": "linear"}, r"train\.schedule must be one of plateau, cosine, one_cycle, constant, got 'linear'"),
        ({"average": "swa"}, r"train\.average must be one of ema, snapshots, none, got 'swa'"),
        ({"precision": "64"}, r"train\.precision must be one of 32-true, .*, got '64'"),
        ({"accelerator": "gpu"}, r"train\.accelerator must be one of auto, cpu, cuda, got 'gpu'"),
        ({"batch_size": 0}, r"train\.batch_size must be positive, got 0"),
        ({"batch_size": 2.5}, r"train\.batch_size must be a whole number, got 2\.5"),
        ({"learning_rate": -1.0}, r"train\.learning_rate must be positive, got -1\.0"),
        ({"learning_rate": float("nan")}, r"train\.learning_rate must be positive, got nan"),
        ({"learning_rate": "auto"}, r"train\.learning_rate must be a number, got 'auto'"),
        ({"average_decay": 1.0}, r"train\.average_decay must lie in \[0, 1\), got 1\.0"),
        ({"momentum": 1.0}, r"train\.momentum must lie in \[0, 1\), got 1\.0"),
        ({"average": "ema", "average_decay": 0.0}, r"train\.average is 'ema', .* train\.average_decay is 0; give it 0\.99"),
        ({"snapshots": 0}, r"train\.snapshots must be positive, got 0"),
        ({"warmup_steps": -1}, r"train\.warmup_steps must not be negative, got -1"),
        ({"warmup_steps": 0.5}, r"train\.warmup_steps must be a whole number, got 0\.5"),
        ({"l1": -0.1}, r"train\.l1 must not be negative, got -0\.1"),
        ({"l2": float("nan")}, r"train\.l2 must not be negative, got nan"),
        ({"weight_decay": True}, r"train\.weight_decay must be a number, got True"),
        ({"compile": 1}, r"train\.compile must be true or false, got 1"),
    ],
)
def test_a_bad_option_names_itself(options, message):
    with pytest.raises(OptionError, match=message):
        TrainConfig(**options)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_missing_accelerator_is_named():
    with pytest.raises(OptionError, match="no CUDA device; use 'auto'"):
        train_network(make_job(), config=replace(CONFIG, accelerator="cuda"), seed=0)


def test_a_loss_that_is_not_a_number_says_what_to_do():
    def broken(network, batch):
        return loss(network, batch) * float("nan")

    with pytest.raises(TrainingDiverged, match=r"training loss is nan in epoch 1; lower train\.learning_rate"):
        train_network(make_job(loss=broken), config=CONFIG, seed=0)


def test_same_seed_same_weights_other_seed_others():
    a, b, c = make_job(), make_job(), make_job()
    for job, seed in ((a, 3), (b, 3), (c, 4)):
        train_network(job, config=CONFIG, seed=seed)
    assert torch.equal(weights(a), weights(b))
    assert not torch.equal(weights(a), weights(c))  # dropout differs


def test_the_global_random_state_and_threads_are_left_alone():
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    train_network(make_job(), config=replace(CONFIG, threads=1), seed=0)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads


class PowerCut(Exception):
    pass


def cut_and_resumed(config, folder, *, cut=3, frozen=None):
    """(undisturbed job, job killed after an epoch and taken up again, result of the latter); their courses are the same."""

    def one(callbacks=(), **options):
        job = make_job(validate=lambda network, device: float(weights_norm(network)))
        if frozen is not None:
            job.frozen, job.frozen_epochs, job.thawed_rate = frozen, 2, 0.5
        return job, train_network(job, config=replace(config, **options), seed=5, callbacks=callbacks)

    def power_cut(epoch, values):
        if epoch == cut:
            raise PowerCut

    def course(result):
        return [[line[name] for name in ("epoch", "train_loss", "learning_rate", "val_loss")] for line in result.history]

    whole, expected = one()
    with pytest.raises(PowerCut):
        one([power_cut], checkpoint_dir=str(folder))
    job, result = one(checkpoint_dir=str(folder))
    assert course(result) == course(expected)
    return whole, job, result


RESUMED = [
    *({"schedule": schedule, "average": "ema"} for schedule in CHOICES["schedule"]),
    *({"optimizer": optimizer} for optimizer in OPTIMIZERS),
    *({"average": average, "snapshots": 2} for average in CHOICES["average"]),
    {"warmup_steps": 20, "l1": 1e-3, "l2": 1e-3, "precision": "bf16-mixed"},
]


@pytest.mark.parametrize("options", RESUMED, ids=lambda options: "-".join(map(str, options.values())))
def test_an_interrupted_run_goes_on_to_the_same_weights(tmp_path, options):
    config = replace(CONFIG, average_decay=0.9, plateau_patience=1, **options)
    whole, job, result = cut_and_resumed(config, tmp_path)
    assert result.resumed_from == 3
    assert [line["epoch"] for line in result.history] == [1, 2, 3, 4, 5, 6]
    assert torch.equal(weights(job), weights(whole))


def weights_norm(network):
    return sum(p.detach().square().sum() for p in network.parameters())


# Frozen parameters


def is_first(name):
    return name.startswith("layers.0")


def each_epoch(job, config=CONFIG):
    """Weights of the first and the last layer before training and after each epoch, and the result."""
    seen = []

    def look(*_):
        seen.append([job.network.layers[place].weight.detach().clone() for place in (0, 2)])

    look()
    return seen, train_network(job, config=config, seed=0, callbacks=[look])


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_frozen_weights_do_not_move_at_first_and_do_afterwards(optimizer):
    job = make_job()
    job.frozen, job.frozen_epochs = is_first, 2
    config = replace(CONFIG, optimizer=optimizer, weight_decay=0.1, l2=0.1, max_epochs=4)
    seen, _ = each_epoch(job, config)
    first, last = [one[0] for one in seen], [one[1] for one in seen]
    assert torch.equal(first[0], first[2])
    assert not torch.equal(first[2], first[3])
    assert not any(torch.equal(a, b) for a, b in itertools.pairwise(last))
    assert all(p.requires_grad for p in job.network.parameters())


def test_thawed_weights_learn_at_their_own_rate():
    job = make_job()
    job.frozen, job.frozen_epochs, job.thawed_rate = is_first, 2, 0.1
    _, result = each_epoch(job, replace(CONFIG, warmup_steps=0, max_epochs=4))
    assert [line["learning_rate"] for line in result.history] == pytest.approx([0.05, 0.05, 0.005, 0.005])


def test_a_parameter_that_never_learned_does_not_after_the_thaw():
    job = make_job()
    job.network.layers[0].weight.requires_grad_(False)
    job.frozen, job.frozen_epochs = is_first, 1
    seen, _ = each_epoch(job)
    assert torch.equal(seen[0][0], seen[-1][0])
    assert not job.network.layers[0].weight.requires_grad


@pytest.mark.parametrize("cut", [1, 2, 3])
@pytest.mark.parametrize("optimizer", ["adamw", "momentum"])
def test_a_run_cut_while_frozen_goes_on_to_the_same_weights(tmp_path, optimizer, cut):
    config = replace(CONFIG, optimizer=optimizer, average="ema", average_decay=0.9)
    whole, job, result = cut_and_resumed(config, tmp_path, cut=cut, frozen=is_first)
    assert result.resumed_from == cut
    assert torch.equal(weights(job), weights(whole))


def test_other_frozen_parameters_are_another_run(tmp_path):
    config = replace(CONFIG, checkpoint_dir=str(tmp_path))
    for frozen, resumed in ((is_first, 0), (is_first, 6), (lambda name: not is_first(name), 0), (None, 0)):
        job = make_job()
        job.frozen, job.frozen_epochs = frozen, 2
        assert train_network(job, config=config, seed=0).resumed_from == resumed


def test_a_network_frozen_altogether_is_refused():
    job = make_job()
    job.frozen, job.frozen_epochs = lambda name: True, 1
    with pytest.raises(OptionError, match="frozen names all 4 parameters that are trained, so epoch 1 has nothing to learn"):
        train_network(job, config=CONFIG, seed=0)
    assert all(p.requires_grad for p in job.network.parameters())


# Compilation and precision


@pytest.mark.parametrize("average", ["none", "snapshots"])
def test_bfloat16_keeps_the_weights_in_full_precision(average):
    job = make_job()
    result = train_network(job, config=replace(CONFIG, precision="bf16-mixed", average=average, max_epochs=20), seed=0)
    assert weights(job).dtype == torch.float32
    assert result.history[-1]["train_loss"] < 0.5 * result.history[0]["train_loss"]


def test_a_missing_compiler_is_named(monkeypatch):
    def missing(function):
        raise RuntimeError("no g++")

    monkeypatch.setattr(torch, "compile", missing)
    with pytest.raises(OptionError, match=r"train\.compile is true, but torch\.compile fails on this machine \(RuntimeError\)"):
        train_network(make_job(), config=replace(CONFIG, compile=True), seed=0)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own, in its compiler
def test_a_compiled_network_learns_the_same():
    plain, job = make_job(), make_job()
    for one in (plain, job):
        one.network.layers[1].p = 0.0
        one.frozen, one.frozen_epochs = is_first, 1
    train_network(plain, config=replace(CONFIG, max_epochs=2), seed=0)
    train_network(job, config=replace(CONFIG, max_epochs=2, compile=True), seed=0)
    torch.testing.assert_close(weights(job), weights(plain), rtol=1e-4, atol=1e-5)
    assert job.network._compiled_call_impl is None


def test_at_least_one_epoch_is_trained_however_short_the_time():
    result = train_network(make_job(), config=replace(CONFIG, max_seconds=1e-9), seed=0)
    assert (len(result.history), result.best_epoch) == (1, 1)


def test_a_checkpoint_of_other_data_is_not_continued(tmp_path):
    config = replace(CONFIG, checkpoint_dir=str(tmp_path))
    train_network(make_job(identity="a"), config=config, seed=0)
    assert train_network(make_job(identity="b"), config=config, seed=0).resumed_from == 0
    assert train_network(make_job(identity="b"), config=config, seed=0).resumed_from == 6


def test_a_damaged_checkpoint_starts_afresh(tmp_path):
    (tmp_path / CHECKPOINT).write_bytes(b"not a checkpoint")
    assert train_network(make_job(), config=replace(CONFIG, checkpoint_dir=str(tmp_path)), seed=0).resumed_from == 0


def test_no_files_without_a_checkpoint_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    train_network(make_job(), config=CONFIG, seed=0)
    assert list(tmp_path.iterdir()) == []


def test_the_progress_bar_is_quiet_when_not_on_a_terminal(capfd):
    train_network(make_job(), config=CONFIG, seed=0)
    assert capfd.readouterr() == ("", "")
    train_network(make_job(), config=replace(CONFIG, progress=True), seed=0)
    assert "epoch 6/6" in capfd.readouterr().err


KILLED = textwrap.dedent(
    """
    import sys, time
    import numpy as np
    import tsforecast
    from tsforecast.panel import Panel

    folder, slow = sys.argv[1], sys.argv[2] == "slow"
    steps = np.arange(300)
    panel = Panel(series_ids=("a",), offsets=np.array([0, 300]), timestamps=steps, freq=1, season=4,
                  target=np.sin(steps * np.pi / 2) + steps / 50)
    def callback(epoch):
        print(epoch.number, flush=True)
        if slow and epoch.number >= 3:
            time.sleep(60)  # until the test kills this process
    train = tsforecast.TrainConfig(max_epochs=6, steps_per_epoch=5, batch_size=16, checkpoint_dir=folder + "/checkpoint")
    model = tsforecast.build_model("gru", context=16, patch=4, hidden=8, dropout=0.2)
    model.fit(panel, horizon=4, seed=1, train=train, callbacks=[callback]).save(folder + "/model")
    """
)


def test_kill_9_in_the_middle_then_the_same_weights(tmp_path):
    script = tmp_path / "fit.py"
    script.write_text(KILLED)
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}

    def run(folder, mode):
        return subprocess.Popen(
            [sys.executable, str(script), str(folder), mode], stdout=subprocess.PIPE, text=True, env=environment, cwd=tmp_path
        )

    with run(tmp_path / "killed", "slow") as process:
        while process.stdout.readline().strip() != "3":
            assert process.poll() is None
        process.send_signal(signal.SIGKILL)
    with run(tmp_path / "killed", "fast") as process:
        epochs = process.stdout.read().split()
    assert epochs == ["4", "5", "6"]
    with run(tmp_path / "whole", "fast") as process:
        assert process.stdout.read().split() == ["1", "2", "3", "4", "5", "6"]
    weights = [(tmp_path / name / "model" / "weights.safetensors").read_bytes() for name in ("killed", "whole")]
    assert weights[0] == weights[1]
