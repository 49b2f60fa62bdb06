"""Batch norm over processes: four that share a batch train what one trains."""

import os
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from snnlib import models
from snnlib.batch_norm import Sharing
from snnlib.distributed import World
from snnlib.errors import SnnlibError
from snnlib.spec.data import Dataset
from snnlib.spec.layers import Linear
from snnlib.spec.model import LayerTable, SEWResNet
from snnlib.spec.neuron import IF, TALIF
from snnlib.spec.training import CleanRegime, Local, TrainingSpec
from snnlib.train import Training
from tests.snnlib import batch_norm_rank, ddp_rank, networks

SHAPE: dict[str, Any] = {"shape": (3, 32, 32), "classes": 10, "seed": 0}
TOLERANCE = {"float64": 1e-12, "float32": 1e-5, "sync": 0.02}
"""Largest difference of a weight or running statistic; in bf16 (`bf16-sync`) spikes flip."""


def part(rank: int, size: int) -> World:
    """A process of a world that is not there: no collective is reached."""
    return World(rank=rank, size=size, local_rank=rank, device=torch.device("cpu"))


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What four processes found."""
    folder = tmp_path_factory.mktemp("ranks")
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=4"]
    done = subprocess.run(
        [sys.executable, *command, batch_norm_rank.__file__, str(folder)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0, done.stderr
    return torch.load(folder / "four.pt", weights_only=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", batch_norm_rank.CASES)
def test_four_processes_equal_one(name: str, four: Any) -> None:
    """Up to summation; the last batch of two samples leaves two processes without any."""
    one = batch_norm_rank.run(batch_norm_rank.training(name, World.single()))
    within = TOLERANCE[name.rpartition("-")[2]]
    assert four[name]["counts"] == one["counts"]
    assert four[name]["losses"] == pytest.approx(one["losses"], abs=within)
    for key, tensor in one["model"].items():
        assert torch.allclose(tensor, four[name]["model"][key], atol=within, rtol=0), key
    assert len(set(four[name]["hashes"])) == 1  # every process has the same bits


@pytest.mark.slow
@pytest.mark.parametrize("name", batch_norm_rank.RESUMED)
def test_four_processes_resume_exactly(name: str, four: Any) -> None:
    straight, resumed = four[f"resumed-{name}"]
    assert straight == resumed


@pytest.mark.slow
@pytest.mark.parametrize("kind", batch_norm_rank.NORMS)
def test_shared_statistics_and_gradients_are_those_of_the_whole_batch(kind: str, four: Any) -> None:
    made, x_TB, grad_TB = batch_norm_rank.norm(kind)
    whole = batch_norm_rank.passed(made, x_TB, grad_TB)
    ranks = [rank["found"] for rank in four[f"norm-{kind}"]]
    some = [found for found, count in zip(ranks, batch_norm_rank.PARTS, strict=True) if count]
    for place in (0, 1):  # result, gradient of the input
        assert torch.allclose(torch.cat([found[place] for found in some], 1), whole[place])
    for place in (2, 3):  # gradients of weight and bias
        assert torch.allclose(sum(found[place] for found in ranks), whole[place])
    assert not ranks[-1][1].any()  # a sample that weighs nothing
    for rank in four[f"norm-{kind}"]:
        assert torch.allclose(rank["running"][0], made.running_mean)
        assert torch.allclose(rank["running"][1], made.running_var)


def test_one_process_keeps_its_modules_and_several_their_names() -> None:
    network = models.build(SEWResNet(name="sew_resnet18", neuron=IF()), **SHAPE)
    names, kinds = list(network.state_dict()), [type(m) for m in network.modules()]
    Sharing(network, World.single(), 1)
    assert [type(m) for m in network.modules()] == kinds
    Sharing(network, part(1, 2), 1)
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    assert len(norms) == 20
    assert all(hasattr(m, "sharing") for m in norms)
    assert list(network.state_dict()) == names


def test_evaluation_stays_bit_for_bit() -> None:
    network = models.build(SEWResNet(name="sew_resnet18", neuron=IF()), **SHAPE).eval()
    images = networks.batch(2, (3, 32, 32)).images_BCHW
    before = network(images)
    Sharing(network, part(0, 2), 1)
    assert torch.equal(network(images), before)


@pytest.mark.parametrize("shards", [1, 4, 8])
@pytest.mark.parametrize("size", [1, 2, 4])
@pytest.mark.parametrize("samples", [32, 6, 1])
def test_processes_take_whole_shards(shards: int, size: int, samples: int) -> None:
    batch_N = torch.arange(samples)
    taken: list[torch.Tensor] = []
    sizes: list[int] = []
    for rank in range(size):
        sharing = Sharing(nn.Identity(), part(rank, size), shards)
        taken.append(sharing.take(batch_N))
        sizes += sharing.sizes
        assert (len(taken[-1]), sharing.total) == (sum(sharing.sizes), samples)
    assert torch.equal(torch.cat(taken), batch_N)
    wanted = batch_N.tensor_split(shards if shards > 1 else size)
    assert sizes == [len(shard) for shard in wanted]


def test_a_shard_is_normalised_alone_and_the_first_moves_the_running_statistics() -> None:
    network, one = nn.Sequential(nn.BatchNorm2d(3)), nn.BatchNorm2d(3)
    sharing = Sharing(network, World.single(), 2)
    sharing.take(torch.arange(5))
    x_TB = networks.batch(10, (3, 4, 4)).images_BCHW.view(2, 5, 3, 4, 4)
    found_TB = network(x_TB.flatten(0, 1)).view_as(x_TB)
    first_TB, second_TB = x_TB[:, :3], x_TB[:, 3:]
    assert torch.allclose(found_TB[:, :3], one(first_TB.flatten(0, 1)).view_as(first_TB))
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        assert torch.equal(getattr(network[0], name), getattr(one, name))
    assert torch.allclose(found_TB[:, 3:], one(second_TB.flatten(0, 1)).view_as(second_TB))


def test_one_value_has_no_variance() -> None:
    network = nn.Sequential(nn.BatchNorm1d(3))
    sharing = Sharing(network, part(1, 2), 1)
    sharing.take(torch.arange(1))
    with pytest.raises(SnnlibError, match="a single value for each channel"):
        network(torch.zeros(1, 3))


THETA = LayerTable(layers=(Linear(out_features=4),), neuron=TALIF(theta_gradient="batch"))


@pytest.mark.parametrize(
    ("spec", "processes", "wanted"),
    [
        ({"regime": CleanRegime(batch_norm=Local(local=4))}, 3, "do not divide the 4 shards"),
        ({"model": THETA}, 2, "asks for as many processes as shards, 1, not 2"),
    ],
)
def test_a_worker_refuses_processes_that_would_train_another_network(
    spec: dict[str, Any], processes: int, wanted: str
) -> None:
    known = TrainingSpec(dataset=Dataset(name="digits"), model=THETA, regime=CleanRegime())
    plain = LayerTable(layers=(Linear(out_features=4),))
    with pytest.raises(SnnlibError, match=wanted):
        Training(
            replace(known, **{"model": plain, **spec}),
            ddp_rank.few_digits(8),
            world=part(0, processes),
        )
