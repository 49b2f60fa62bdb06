"""Batch normalisation in training where several processes share a batch.

The batch norms of a network are exchanged for ones that know of the other processes; names and
values of parameters and buffers stay, and so does evaluation. One process with statistics of its
whole batch keeps the modules it has.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from snnlib import distributed
from snnlib.distributed import World
from snnlib.doors import layer
from snnlib.errors import SnnlibError
from snnlib.models.lean import LeanBatchNorm2d


class Sharing:
    """How the processes of a training divide each batch, and what their batch norms know of it.

    With one shard, statistics are those of the whole batch, by collectives in each forward and
    backward pass. With N shards each has its own, without any; running statistics are then those
    of the first shard, as in training by N processes whose buffers the first one hands out
    (PyTorch's DistributedDataParallel, without SyncBatchNorm).

    Attributes:
        world: the processes.
        shards: N, a multiple of the number of processes, or 1.
        sizes: samples of each part of the batch at hand that this process has.
        total: samples of the batch at hand over all processes.
    """

    def __init__(self, network: nn.Module, world: World, shards: int) -> None:
        """Exchange the batch norms of a network, if they need to know."""
        self.world, self.shards = world, shards
        self.sizes: tuple[int, ...] = ()
        self.total = 0
        self._norms: list[Any] = []
        if world.size == shards == 1:
            return
        for module in network.modules():
            if type(module) in _SHARED:
                module.__class__ = _SHARED[type(module)]
                self._norms.append(module)
                self._norms[-1].sharing = self

    def take(self, batch_N: Tensor) -> Tensor:
        """This process's part of a batch: none where the batch is smaller than the world."""
        parts = batch_N.tensor_split(max(self.shards, self.world.size))
        each = len(parts) // self.world.size
        own = parts[self.world.rank * each : (self.world.rank + 1) * each]
        self.sizes, self.total = tuple(map(len, own)), len(batch_N)
        return torch.cat(own)

    def agree(self) -> None:
        """Give every process the running statistics of the first shard, after a training step."""
        if self.shards == 1 or self.world.size == 1 or not self._norms:
            return
        running = [t for norm in self._norms for t in (norm.running_mean, norm.running_var)]
        flat = torch.cat(running)
        distributed.broadcast(self.world, flat)
        parts: tuple[Tensor, ...] = torch.split(flat, [len(tensor) for tensor in running])
        for tensor, values in zip(running, parts, strict=True):
            tensor.copy_(values)


class _Fixed(NamedTuple):
    """What normalises: mean and variance, [C], and what is added to the variance."""

    mean_C: Tensor
    variance_C: Tensor
    eps: float


class _Shared(_BatchNorm):
    """A batch norm of [T B, C, ...], time before batch."""

    sharing: Sharing

    def forward(self, x_N: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x_N)
        assert self.num_batches_tracked is not None, "running statistics are kept"
        self.num_batches_tracked.add_(1)
        if self.sharing.shards > 1:
            return _by_shard(self, x_N)
        return _together(self, x_N)


class _Shared1d(_Shared, nn.BatchNorm1d):
    pass


class _Shared2d(_Shared, nn.BatchNorm2d):
    pass


class _SharedStep2d(layer.BatchNorm2d, _Shared2d):  # type: ignore[misc]
    """SpikingJelly's, which folds time into the batch before it asks the next class."""


class _SharedLean2d(LeanBatchNorm2d, _Shared2d):
    """As `_SharedStep2d`."""


_SHARED: dict[type, Any] = {
    nn.BatchNorm1d: _Shared1d,
    nn.BatchNorm2d: _Shared2d,
    layer.BatchNorm2d: _SharedStep2d,
    LeanBatchNorm2d: _SharedLean2d,
}


def _by_shard(norm: Any, x_N: Tensor) -> Tensor:
    """Each shard by its own statistics; the first one's move the running ones."""
    sizes = norm.sharing.sizes
    if not any(sizes):  # one sample that weighs nothing, which may have no variance
        fixed: Tensor = functional.batch_norm(
            x_N, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps
        )
        return fixed
    leads = norm.sharing.world.rank == 0
    parts: tuple[Tensor, ...] = torch.split(x_N.view(-1, sum(sizes), *x_N.shape[1:]), sizes, dim=1)
    found = []
    for place, x_TB in enumerate(part for part in parts if part.shape[1]):
        moved = leads and place == 0
        y: Tensor = functional.batch_norm(
            x_TB.flatten(0, 1),
            norm.running_mean if moved else None,
            norm.running_var if moved else None,
            norm.weight,
            norm.bias,
            training=True,
            momentum=norm.momentum,
            eps=norm.eps,
        )
        found.append(y.view(x_TB.shape))
    return torch.cat(found, dim=1).view(x_N.shape)


def _together(norm: Any, x_N: Tensor) -> Tensor:
    """All samples of all processes by statistics of all of them."""
    sharing: Sharing = norm.sharing
    own = sum(sharing.sizes)
    each = x_N.numel() // x_N.shape[1] // max(own, 1)  # values of a sample for each channel
    values = each * sharing.total
    if values == 1:
        raise SnnlibError(
            "batch normalisation of a single value for each channel: the last batch has one "
            "sample; choose a batch_size that leaves it more"
        )
    with torch.no_grad():
        mean_C, variance_C = _statistics(sharing.world, x_N, own / sharing.total)
        unbiased_C = variance_C * (values / (values - 1))
        for running_C, found_C in ((norm.running_mean, mean_C), (norm.running_var, unbiased_C)):
            running_C.lerp_(found_C.to(running_C), norm.momentum)
        fixed = _Fixed(mean_C.to(norm.weight), variance_C.to(norm.weight), norm.eps)
    share = 1 / values if own else 0.0
    y: Tensor = _Together.apply(x_N, norm.weight, norm.bias, fixed, (sharing.world, share))  # type: ignore[no-untyped-call]
    return y


def _statistics(world: World, x_N: Tensor, weight: float) -> tuple[Tensor, Tensor]:
    """Mean and variance [C] over all processes, in float64, from those of each.

    Args:
        world: the processes.
        x_N: [N, C, ...] of this one.
        weight: its part of all samples, 0 for one that has none.
    """
    axes = [0, *range(2, x_N.ndim)]
    wide = x_N.float() if x_N.dtype.itemsize < torch.float32.itemsize else x_N
    mean_C = wide.mean(axes)
    centred = wide - _along(mean_C, x_N)
    mean_C, variance_C = mean_C.double(), centred.square_().mean(axes).double()
    sums = torch.stack((mean_C, variance_C + mean_C.square())) * weight
    mean_C, square_C = distributed.total(world, sums)
    return mean_C, (square_C - mean_C.square()).clamp_(min=0)


class _Together(torch.autograd.Function):
    """(x - mean) / sqrt(variance + eps) * weight + bias, mean and variance functions of all x.

    With x' = (x - mean) / sqrt(variance + eps), g the gradient of the result and <.> the mean over
    all values of a channel in all processes (Ioffe and Szegedy 2015, section 3):

        dx = weight / sqrt(variance + eps) * (g - <g> - x' <g x'>)

    Each process adds up dweight and dbias for its own samples. There is no second derivative:
    regimes differentiate twice by finite differences only.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, fixed: _Fixed, part: tuple[World, float]
    ) -> Tensor:
        ctx.save_for_backward(x, weight, fixed.mean_C, fixed.variance_C)
        ctx.eps, ctx.part = fixed.eps, part
        return functional.batch_norm(x, fixed.mean_C, fixed.variance_C, weight, bias, eps=fixed.eps)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        x, weight_C, mean_C, variance_C = ctx.saved_tensors
        (world, share), inverse_C = ctx.part, (variance_C + ctx.eps).rsqrt()
        grad_x, grad_weight, grad_bias = torch.ops.aten.native_batch_norm_backward(
            grad,
            x,
            weight_C,
            mean_C,
            variance_C,
            None,
            None,
            train=False,
            eps=ctx.eps,
            output_mask=(True, True, True),
        )
        sums = distributed.total(world, torch.stack((grad_bias, grad_weight)).double() * share)
        if not share:  # its sample is in no statistics
            return grad_x, grad_weight, grad_bias, None, None
        along_C, across_C = sums.to(mean_C) * weight_C * inverse_C
        moved = (x - _along(mean_C, x)).mul_(_along(inverse_C * across_C, x))
        grad_x -= moved.add_(_along(along_C, x))
        return grad_x, grad_weight, grad_bias, None, None


def _along(value_C: Tensor, x_N: Tensor) -> Tensor:
    """One value for each channel of [N, C, ...]."""
    return value_C.view(-1, *[1] * (x_N.ndim - 2))
