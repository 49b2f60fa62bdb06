"""Random numbers as a pure function of a key and a counter.

A number depends on (seed, stream, sample, draw, position) alone: not on the device, on how samples
are batched or sharded, nor on what was drawn before. The generator is SplitMix64 (Steele, Lea and
Flood 2014, "Fast splittable pseudorandom number generators", figure 16; its mixing constants are
Stafford's variant 13), started anew for each sample from a hash of its key, in integer tensor
operations that are exact everywhere.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

_GAMMA = 0x9E3779B97F4A7C15
_MIX_1 = 0xBF58476D1CE4E5B9
_MIX_2 = 0x94D049BB133111EB
STEPS = 2**16
"""Probabilities of `bernoulli` are multiples of 1/STEPS."""


@dataclass(frozen=True, kw_only=True)
class Key:
    """What the noise of a batch depends on.

    Attributes:
        seed: of the training or evaluation.
        stream: names the purpose, so that two uses of one seed share no numbers.
        samples_B: identity of each sample, int64.
    """

    seed: int
    stream: str
    samples_B: Tensor


def _signed(value: int) -> int:
    """The int64 with the same 64 bits."""
    return (value + 2**63) % 2**64 - 2**63


def _mix(x: Tensor) -> Tensor:
    """SplitMix64's finaliser; int64 products wrap, right shifts are made logical."""
    x = (x ^ (x >> 30 & (1 << 34) - 1)) * _signed(_MIX_1)
    x = (x ^ (x >> 27 & (1 << 37) - 1)) * _signed(_MIX_2)
    return x ^ (x >> 31 & (1 << 33) - 1)


@lru_cache(maxsize=4096)
def _root(seed: int, stream: str, draw: int) -> int:
    """A 64-bit number for what all samples of a draw share."""
    digest = hashlib.sha256(f"{seed}/{draw}/{stream}".encode()).digest()
    return _signed(int.from_bytes(digest[:8], "big"))


def splitmix64(start_B: Tensor, count: int) -> Tensor:
    """The first `count` numbers N of SplitMix64 for each start, int64 [B, N], all bits random."""
    steps_N = torch.arange(1, count + 1, device=start_B.device) * _signed(_GAMMA)
    return _mix(start_B[:, None] + steps_N)


def bits(count: int, key: Key, draw: int | Sequence[int] = 0) -> Tensor:
    """Random 64-bit integers.

    Args:
        count: numbers N for each sample.
        key: seed, stream and samples.
        draw: how often this key was used before; one for each sample if they differ.

    Returns:
        int64 [B, N], all bits random.
    """
    root: int | Tensor
    if isinstance(draw, int):
        root = _root(key.seed, key.stream, draw)
    else:
        roots = [_root(key.seed, key.stream, one) for one in draw]
        root = torch.tensor(roots, device=key.samples_B.device)
    return splitmix64(_mix(key.samples_B + root), count)


def uniform(shape: Sequence[int], key: Key, draw: int | Sequence[int] = 0) -> Tensor:
    """Uniform random numbers in [0, 1), multiples of 2^-24.

    Args:
        shape: of the numbers of one sample.
        key: seed, stream and samples.
        draw: as of `bits`.

    Returns:
        float32 [B, *shape].
    """
    top = bits(math.prod(shape), key, draw) >> 40 & (1 << 24) - 1
    return (top.to(torch.float32) * 2.0**-24).reshape(-1, *shape)


def bernoulli(shape: Sequence[int], p: float, key: Key, draw: int = 0) -> Tensor:
    """Independent decisions, true with probability round(2^16 p) / 2^16; four for each number.

    Args:
        shape: of the decisions of one sample.
        p: probability, below 1 when rounded.
        key: seed, stream and samples.
        draw: how often this key was used before.

    Returns:
        bool [B, *shape].
    """
    below = round(p * STEPS)
    assert 0 <= below < STEPS, "a probability"
    count = math.prod(shape)
    quarters = bits(-(-count // 4), key, draw).view(torch.int16)[:, :count]
    # as int16 they are uniform over [-STEPS/2, STEPS/2)
    return (quarters < below - STEPS // 2).reshape(-1, *shape)


@lru_cache(maxsize=2)  # every step asks for the order of its epoch
def permutation(seed: int, epoch: int, count: int) -> Tensor:
    """The order of `count` training samples in an epoch, int64 [N] on the CPU; not to be changed."""
    key = Key(seed=seed, stream="order", samples_B=torch.arange(count))
    return torch.argsort(bits(1, key, epoch)[:, 0], stable=True)
