"""One process of a collection that several share; run by test_nds through torchrun."""

import os
import sys
from pathlib import Path

import torch

from snnlib import datasets, distributed, models, repeatable
from snnlib.distributed import World
from snnlib.evaluate import batches, shard
from snnlib.nds import collect, merged
from snnlib.spec.data import Dataset
from snnlib.spec.layers import Conv, Linear, Output, Pool
from snnlib.spec.model import LayerTable

TABLE = LayerTable(
    layers=(Conv(out_channels=4, kernel_size=3), Pool(), Linear(out_features=12), Output())
)


def main(target: Path, world: World) -> None:
    """Collect and merge twice: of 80 digits there is one batch, so one process alone has any."""
    repeatable.pin(threads=1, seed=0)
    model = models.build(TABLE, shape=(1, 8, 8), classes=10, seed=0)
    train = datasets.load(Dataset(name="digits")).train
    found = []
    for count in (250, 80):
        split = train.first(count)
        mine = shard(batches(count, 100), world.rank, world.size)
        own = collect(model, (split.batch(rows, 100) for rows in mine), quantity="membrane")
        found.append(merged(world, own))
    distributed.barrier(world)
    if world.rank == 0:
        layers = {n: torch.stack([sums.by_layer[n] for sums in found]) for n in found[0].by_layer}
        torch.save({"counts": [sums.count for sums in found], "layers": layers}, target)


if __name__ == "__main__":
    main(Path(sys.argv[1]), distributed.init(timeout_s=30))
    distributed.shutdown()
    os._exit(0)  # as workers end
