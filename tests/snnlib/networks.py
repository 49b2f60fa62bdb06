"""Small networks that tests share."""

import hashlib
from decimal import Decimal

import torch
from torch import nn

from snnlib import encoders, models
from snnlib.classifier import SpikingClassifier
from snnlib.datasets import Batch
from snnlib.layers import Folded
from snnlib.spec.encoder import Direct, Encoder
from snnlib.spec.model import Small, SpikeReadout
from snnlib.spec.neuron import IF, SpikeNeuron

DIRECT = Direct()
HALF = IF(v_threshold=Decimal("0.5"))


def small(
    *,
    encoder: Encoder = DIRECT,
    readout: SpikeReadout = "current",
    seed: int = 0,
    neuron: SpikeNeuron = HALF,
) -> SpikingClassifier:
    """The `small` network for digits."""
    spec = Small(
        neuron=neuron,
        time_steps=3,
        encoder=encoder,
        readout=readout,
    )
    return models.build(spec, shape=(1, 8, 8), classes=10, seed=seed)


def linear() -> SpikingClassifier:
    """Logits W x + b in float64, without spikes: attacks on it can be written in one line."""
    layer = nn.Linear(12, 5, dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.normal_(generator=generator)
    layers = Folded(nn.Sequential(nn.Flatten(), layer))
    return SpikingClassifier(layers, encode=encoders.build(DIRECT), time_steps=2)


def batch(count: int, shape: tuple[int, int, int] = (1, 8, 8), classes: int = 10) -> Batch:
    """Random images with random labels."""
    generator = torch.Generator().manual_seed(1)
    return Batch(
        images_BCHW=torch.rand(count, *shape, generator=generator),
        labels_B=torch.randint(classes, (count,), generator=generator),
        samples_B=torch.arange(100, 100 + count),
        count=count,
    )


def part(whole: Batch, begin: int, end: int) -> Batch:
    """Some samples of a batch as a batch of their own."""
    return Batch(
        images_BCHW=whole.images_BCHW[begin:end],
        labels_B=whole.labels_B[begin:end],
        samples_B=whole.samples_B[begin:end],
        count=end - begin,
    )


def state_hash(module: nn.Module) -> str:
    """SHA-256 over names, types, shapes and bytes of all parameters and buffers."""
    digest = hashlib.sha256()
    for name, tensor in module.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
