"""Sinks: what they are given, that they lose nothing, and that a training never depends on them."""

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from jobs import files, identity
from jobs.layout import RunRoot
from jobs.running import sinks
from jobs.running.cell_run import CellRun, Stopped
from jobs.running.sinks import About, Sink, TensorBoard, Wandb, opened
from jobs.running.train_cell import train
from snnlib.datasets import Data
from snnlib.spec.data import Dataset
from snnlib.spec.model import Small
from snnlib.spec.neuron import LIF
from snnlib.spec.training import CleanRegime, TrainingSpec
from tests.examples import run_root
from tests.running import alone
from tests.snnlib import ddp_rank
from tests.system.conftest import until

CHECKOUT = Path(__file__).resolve().parents[2]
SPEC = TrainingSpec(
    dataset=Dataset(name="digits"),
    model=Small(neuron=LIF(), time_steps=2),
    regime=CleanRegime(epochs=3),
)
LINE = {"epoch": 1, "loss": 0.5, "train_accuracy": 0.4, "validation_correct": 30,
        "validation_total": 40, "lr": 0.1, "seconds": 2.0, "images_per_s": 800.0,
        "firing_rates": {"1": 0.25}}  # fmt: skip


@pytest.fixture(scope="module")
def data() -> Data:
    return ddp_rank.few_digits(60)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunRoot:
    monkeypatch.setenv("SPIKEGRID_CODE", "c0de")
    monkeypatch.setenv("SPIKEGRID_SINKS", "")
    monkeypatch.setenv("PYTHONPATH", str(CHECKOUT))
    monkeypatch.setenv("SPIKEGRID_MARK", str(tmp_path))  # what is started here can be told by it
    return run_root(tmp_path)


def attempt(root: RunRoot, number: int = 1) -> CellRun:
    return alone.attempt(root, SPEC, number)


def about(root: RunRoot, label: str = "digits/small-lif/clean/s0", number: int = 1) -> About:
    return About(
        root=root,
        training_id=identity.training_id(SPEC),
        label=label,
        attempt=number,
        spec=identity.plain(SPEC),
        stopping=lambda: False,
    )


class Broken:
    """A sink of which one call, or each, raises."""

    def __init__(self, call: str, error: Exception) -> None:
        self._call, self._error = call, error
        self._maybe("open")

    def _maybe(self, call: str) -> None:
        if self._call in {call, "each"}:
            raise self._error

    def epoch(self, line: Mapping[str, Any]) -> None:
        self._maybe("epoch")

    def close(self, end: str) -> None:
        self._maybe("close")


def trained(root: RunRoot, data: Data, monkeypatch: pytest.MonkeyPatch, sink: object) -> CellRun:
    """A training with one sink."""
    monkeypatch.setattr(sinks, "SINKS", {"one": sink})
    monkeypatch.setenv("SPIKEGRID_SINKS", "one" if sink else "")
    run = attempt(root)
    train(run, data)
    return run


def noted(run: CellRun) -> list[str]:
    lines = files.read_lines(run.files.events)
    return [line["why"] for line in lines if line["event"] == "sink"]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, data: Data) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPIKEGRID_CODE", "c0de")
        run = trained(run_root(tmp_path_factory.mktemp("quiet")), data, patch, None)
    assert noted(run) == []
    return str(files.read_json(run.cell.training)["model_sha256"])


@pytest.mark.parametrize("call", ["open", "epoch", "close", "each"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), ImportError("no such")])
def test_a_sink_that_raises_changes_nothing(
    root: RunRoot, data: Data, undisturbed: str, monkeypatch: pytest.MonkeyPatch,
    call: str, error: Exception,
) -> None:  # fmt: skip
    run = trained(root, data, monkeypatch, lambda _: Broken(call, error))
    assert files.read_json(run.cell.training)["model_sha256"] == undisturbed
    assert noted(run) == [f"{type(error).__name__}: {error}"]
    assert len(list(files.read_lines(run.files.metrics))) == 3


def test_an_unknown_sink_is_noted(root: RunRoot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPIKEGRID_SINKS", "tensorbored")
    run = attempt(root)
    with opened(run, []):
        pass
    assert noted(run) == ["UsageError: no such sink (has tensorboard, wandb)"]


def test_metrics_carry_what_curves_and_watchers_need(root: RunRoot, data: Data) -> None:
    run = attempt(root)
    train(run, data)
    lines = list(files.read_lines(run.files.metrics))
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    assert all(line.keys() == LINE.keys() and line["images_per_s"] > 0 for line in lines)
    assert all(0 <= rate <= 1 for line in lines for rate in line["firing_rates"].values())


class Told(list[Any]):
    """A sink that remembers."""

    def epoch(self, line: Mapping[str, Any]) -> None:
        self.append(line["epoch"])

    def close(self, end: str) -> None:
        self.append(end)


@pytest.mark.parametrize(
    ("raised", "end"), [(None, "completed"), (Stopped, "stopped"), (ValueError, "failed")]
)
def test_a_sink_hears_earlier_epochs_first_and_the_end_last(
    root: RunRoot, monkeypatch: pytest.MonkeyPatch, raised: type[Exception] | None, end: str
) -> None:
    told = Told()
    monkeypatch.setattr(sinks, "SINKS", {"one": lambda _: told})
    monkeypatch.setenv("SPIKEGRID_SINKS", "one")
    history = [{"epoch": 1}]
    with contextlib.suppress(Stopped, ValueError), opened(attempt(root), history) as found:
        found.epoch({"epoch": 2})
        if raised:
            raise raised
    assert told == [1, 2, end]


def scalars(root: RunRoot) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard would show of the one training there is."""
    (folder,) = root.tensorboard.iterdir()
    found = EventAccumulator(str(folder))
    found.Reload()
    return {
        tag: [(one.step, round(one.value, 4)) for one in found.Scalars(tag)]
        for tag in found.Tags()["scalars"]
    }


def test_tensorboard_reads_what_was_written(root: RunRoot) -> None:
    sink: Sink = TensorBoard(about(root))
    sink.epoch(LINE)
    sink.epoch({**LINE, "epoch": 2, "loss": 0.25})
    found = scalars(root)  # before it is closed
    sink.close("completed")
    assert found["loss"] == [(1, 0.5), (2, 0.25)]
    assert found["accuracy/validation"] == [(1, 0.75), (2, 0.75)]
    assert found["firing_rate/1"][0] == (1, 0.25)
    assert {"accuracy/train", "lr", "seconds", "images_per_s"} < found.keys()


def test_a_later_attempt_makes_one_curve_with_the_earlier(root: RunRoot) -> None:
    for number, epochs in ((1, (1, 2, 3)), (2, (1, 2, 3, 4))):
        sink = TensorBoard(about(root, number=number))
        for epoch in epochs:
            sink.epoch({**LINE, "epoch": epoch, "loss": number})
        sink.close("stopped")
    assert scalars(root)["loss"] == [(epoch, 2.0) for epoch in (1, 2, 3, 4)]


@pytest.mark.parametrize("label", ["../../x", "/etc/x", "a\x1b[2J\nb", "x" * 400])
def test_no_label_leads_out_of_the_folder(root: RunRoot, label: str) -> None:
    TensorBoard(about(root, label)).close("completed")
    (folder,) = root.tensorboard.iterdir()
    assert folder.name.isascii()
    assert folder.name.isprintable()
    assert len(folder.name) < 255


def test_a_full_disk_shows_at_once(root: RunRoot, monkeypatch: pytest.MonkeyPatch) -> None:
    sink = TensorBoard(about(root))
    with Path("/dev/full").open("ab", buffering=0) as full:
        monkeypatch.setattr(sink._records, "_writer", full)
        with pytest.raises(OSError, match="No space left"):
            sink.epoch(LINE)
    sink.close("failed")


def living() -> list[str]:
    """Processes that this test has started, and those that they have."""
    mark, found = f"SPIKEGRID_MARK={os.environ['SPIKEGRID_MARK']}".encode(), []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if mark in (entry / "environ").read_bytes().split(b"\0"):
                found.append((entry / "cmdline").read_text())
    return found


@pytest.mark.slow
def test_wandb_writes_an_offline_run_without_network(
    root: RunRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        proxy = f"http://127.0.0.1:{listener.getsockname()[1]}"
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy)
        monkeypatch.setenv("WANDB_MODE", "online")
        monkeypatch.setenv("HOME", str(root.path / "home"))
        sink = Wandb(about(root))
        for epoch in (1, 2):
            sink.epoch({**LINE, "epoch": epoch})
        sink.close("completed")
        with pytest.raises(BlockingIOError):  # nobody knocked
            listener.accept()
    (run,) = root.wandb.glob("offline-run-*/run-*.wandb")
    data = run.read_bytes()
    assert b"accuracy/validation" in data
    assert b"digits/small-lif/clean/s0" in data
    assert not (root.path / "home").exists()
    until(lambda: not living(), "the end of its service")


KILLED = """
import os, sys, time
from pathlib import Path
from tests.running.test_sinks import LINE, about
from jobs.layout import RunRoot
from jobs.running.sinks import Wandb
sink = Wandb(about(RunRoot(Path(sys.argv[1]))))
sink.epoch(LINE)
while not list(Path(sys.argv[1]).glob("wandb/offline-run-*/run-*.wandb")):
    time.sleep(0.05)
os.kill(os.getpid(), 9)
"""


@pytest.mark.slow
def test_wandb_dies_with_a_killed_rank(root: RunRoot) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(root.path)], timeout=120, check=False)
    assert done.returncode == -9
    until(lambda: not living(), "the end of its processes")


@pytest.mark.slow
def test_real_sinks_change_nothing(
    root: RunRoot, data: Data, undisturbed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPIKEGRID_SINKS", "tensorboard,wandb")
    run = attempt(root)
    train(run, data)
    assert noted(run) == []
    assert files.read_json(run.cell.training)["model_sha256"] == undisturbed
    assert [step for step, _ in scalars(root)["loss"]] == [1, 2, 3]
    assert len(list(root.wandb.glob("offline-run-*"))) == 1


@pytest.mark.slow
def test_a_run_that_cannot_be_written_is_noted(
    root: RunRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root.path / "broken").mkdir()
    (root.path / "broken/wandb.py").write_text("raise RuntimeError('no wandb today')")
    monkeypatch.setenv("PYTHONPATH", f"{root.path / 'broken'}:{CHECKOUT}")
    monkeypatch.setenv("SPIKEGRID_SINKS", "wandb")
    run = attempt(root)
    with opened(run, [LINE]):
        pass
    (why,) = noted(run)
    assert why.endswith("its process ended with code 1; see the log")
