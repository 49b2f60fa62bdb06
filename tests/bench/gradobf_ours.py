"""The works of `tests.bench.gradobf_original` by this program: training steps and attacks of cells.

`python -m tests.bench.gradobf_ours BATCH STEPS`. The same images in the same order, and from the
same seed the same initial weights.
"""

import sys
from decimal import Decimal
from fractions import Fraction

import torch

from snnlib import noise, repeatable
from snnlib.datasets import Data, Split
from snnlib.distributed import World
from snnlib.evaluate import attack_batch
from snnlib.spec.attack import FGSM, PGD
from snnlib.spec.data import Dataset
from snnlib.spec.encoder import Phase
from snnlib.spec.model import SEWResNet
from snnlib.spec.neuron import IF
from snnlib.spec.training import CleanRegime, TrainingSpec
from snnlib.train import Training
from tests.bench.alternate import serve
from tests.bench.gradobf_original import SEED, images

EPSILON = Fraction(6, 255)
ATTACKS = (
    FGSM(space="encoded"),
    PGD(space="encoded", steps=7, step_size="1/100"),
)


def specification(batch: int) -> TrainingSpec:
    """The original's recipe for sew18, max pool, phase."""
    return TrainingSpec(
        dataset=Dataset(name="digits"),  # stands for the images of `data`
        model=SEWResNet(
            name="sew_resnet18",
            neuron=IF(detach_reset=True),
            time_steps=10,
            encoder=Phase(),
        ),
        regime=CleanRegime(
            batch_size=batch, schedule="constant", weight_decay=Decimal("0.001"), select="last"
        ),
        seed=SEED,
    )


def data(count: int) -> Data:
    """The original's images, laid out so that the first epoch meets them in its order."""
    pixels_NCHW, labels_N = images(count)
    order_N = noise.permutation(SEED, 0, count)
    images_NCHW, own_N = torch.empty_like(pixels_NCHW), torch.empty_like(labels_N)
    images_NCHW[order_N], own_N[order_N] = pixels_NCHW / 255, labels_N
    split = Split(images_NCHW=images_NCHW, labels_N=own_N, indices_N=torch.arange(count))
    few = split.first(1)
    return Data(train=split, validation=few, test=few, classes=10, shape=(3, 32, 32))


def main() -> None:
    """Serve the works, with the settings of a job."""
    batch, steps = map(int, sys.argv[1:])
    repeatable.pin(threads=1, seed=SEED)
    whole = data(batch * steps)
    training = Training(specification(batch), whole, world=World.single())
    first = whole.train.batch(range(batch), batch)

    def train() -> float:
        return training.advance().loss

    def attack() -> None:
        for each in ATTACKS:
            attack_batch(training.module, each, (EPSILON,), first, seed=0)

    serve({"train": train, "attack": attack})


if __name__ == "__main__":
    main()
