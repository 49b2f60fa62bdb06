"""One process of a gradient tracking that several share; run by test_gradients through torchrun."""

import json
import os
import sys
from pathlib import Path

from jobs.running.gradients_stage import record
from snnlib import datasets, distributed, models, repeatable
from snnlib.distributed import World
from snnlib.evaluate import batches, shard
from snnlib.gradients import collect, merged
from snnlib.spec.data import Dataset
from snnlib.spec.model import Small
from snnlib.spec.neuron import LIF
from snnlib.spec.stage import GradientsStage


def main(target: Path, world: World) -> None:
    """Track and merge twice: of 40 digits there is one batch, so one process alone has any."""
    repeatable.pin(threads=1, seed=0)
    model = models.build(Small(neuron=LIF()), shape=(1, 8, 8), classes=10, seed=0)
    test = datasets.load(Dataset(name="digits")).test
    found = []
    for count in (230, 40):
        split = test.first(count)
        mine = shard(batches(count, 50), world.rank, world.size)
        own = collect(model, (split.batch(rows, 50) for rows in mine), GradientsStage())
        found.append(record(merged(world, own)))
    distributed.barrier(world)
    if world.rank == 0:
        target.write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), distributed.init(timeout_s=30))
    distributed.shutdown()
    os._exit(0)  # as workers end
