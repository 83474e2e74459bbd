"""The training loop, on a network so small that its course can be followed."""

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
from tsforecast.nn.config import OPTIMIZERS, TrainConfig
from tsforecast.nn.train import CHECKPOINT, Job, make_optimizer, train_network

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
        ({"schedule": "cosine"}, r"train\.schedule must be one of plateau, one_cycle, constant, got 'cosine'"),
        ({"precision": "64"}, r"train\.precision must be one of 32-true, .*, got '64'"),
        ({"accelerator": "gpu"}, r"train\.accelerator must be one of auto, cpu, cuda, got 'gpu'"),
        ({"batch_size": 0}, r"train\.batch_size must be positive, got 0"),
        ({"batch_size": 2.5}, r"train\.batch_size must be a whole number, got 2\.5"),
        ({"learning_rate": -1.0}, r"train\.learning_rate must be positive, got -1\.0"),
        ({"learning_rate": float("nan")}, r"train\.learning_rate must be positive, got nan"),
        ({"average_decay": 1.0}, r"train\.average_decay must lie in \[0, 1\), got 1\.0"),
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


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("schedule", ["plateau", "one_cycle"])
def test_an_interrupted_run_goes_on_to_the_same_weights(tmp_path, optimizer, schedule):
    config = replace(CONFIG, optimizer=optimizer, schedule=schedule, average_decay=0.9, plateau_patience=1)
    whole = make_job(validate=lambda network, device: float(weights_norm(network)))
    train_network(whole, config=config, seed=5)

    class PowerCut(Exception):
        pass

    def cut(epoch, values):
        if epoch == 3:
            raise PowerCut

    half = replace(config, checkpoint_dir=str(tmp_path))
    with pytest.raises(PowerCut):
        train_network(
            make_job(validate=lambda network, device: float(weights_norm(network))), config=half, seed=5, callbacks=[cut]
        )
    job = make_job(validate=lambda network, device: float(weights_norm(network)))
    result = train_network(job, config=half, seed=5)
    assert result.resumed_from == 3
    assert [line["epoch"] for line in result.history] == [1, 2, 3, 4, 5, 6]
    assert torch.equal(weights(job), weights(whole))


def weights_norm(network):
    return sum(p.detach().square().sum() for p in network.parameters())


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
