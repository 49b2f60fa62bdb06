"""Every name of the vocabulary is built, and nothing else."""

from typing import Any, get_args

import pytest

from snnlib.attacks import ATTACKS
from snnlib.augment import AUGMENTATIONS
from snnlib.datasets import LOADERS
from snnlib.encoders import ENCODERS
from snnlib.losses import LOSSES, TRAINING_LOSSES
from snnlib.models import MODELS
from snnlib.neurons import NEURONS
from snnlib.optimisers import OPTIMISERS, SCHEDULES
from snnlib.regimes import REGIMES
from snnlib.spec import attack, data, encoder, model, neuron, training
from snnlib.surrogates import SURROGATES


@pytest.mark.parametrize(
    ("built", "names"),
    [
        (ATTACKS, attack.AttackName),
        (AUGMENTATIONS, data.Augmentation),
        (ENCODERS, encoder.EncoderName),
        (LOADERS, data.DatasetName),
        (LOSSES, attack.AttackLoss),
        (TRAINING_LOSSES, training.Loss),
        (MODELS, model.ModelName),
        (OPTIMISERS, training.Optimiser),
        (REGIMES, training.RegimeName),
        (SCHEDULES, training.Schedule),
        (SURROGATES, neuron.SurrogateName),
    ],
)
def test_builders_are_the_vocabulary(built: dict[str, object], names: Any) -> None:
    assert set(built) == set(get_args(names))


def test_every_neuron_is_built() -> None:
    assert set(NEURONS) == set(get_args(neuron.Neuron))


def test_every_regime_carries_its_name() -> None:
    union, *_ = get_args(training.Regime)
    assert [one.name for one in get_args(union)] == list(get_args(training.RegimeName))
