"""Arithmetic of training in less than float32."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from snnlib.classifier import SpikingClassifier
from snnlib.response import Response
from snnlib.spec.attack import Space
from snnlib.spec.training import Precision


def response(module: SpikingClassifier, z: Tensor, space: Space, precision: Precision) -> Response:
    """The output layer over time, as `module.response`, in another precision.

    In bf16 convolutions and linear layers multiply in bfloat16 (autocast). Neurons get their
    currents in float32: a membrane sums over time, and 8 bits of mantissa lose what a spike hangs
    on. The answer is float32.
    """
    with ExitStack() as stack:
        stack.enter_context(products(precision))
        if precision != "bf16":
            return module.response(z, space)
        for layer in module.spiking_layers.values():
            stack.callback(layer.register_forward_pre_hook(_in_float32).remove)
        stack.enter_context(torch.autocast(z.device.type, torch.bfloat16))
        found = module.response(z, space)
    return replace(
        found, current_TBK=found.current_TBK.float(), readout_TBK=found.readout_TBK.float()
    )


@contextmanager
def products(precision: Precision) -> Iterator[None]:
    """Let float32 products round their factors to 10 bits of mantissa, if it is tf32.

    Holds for what runs inside, so a backward pass needs it as its forward pass did.
    """
    if precision != "tf32":
        yield
        return
    cudnn: Any = torch.backends.cudnn
    before = torch.get_float32_matmul_precision(), cudnn.allow_tf32
    try:
        torch.set_float32_matmul_precision("high")
        cudnn.allow_tf32 = True
        yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        cudnn.allow_tf32 = before[1]


def _in_float32(_layer: Any, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(x.float() for x in inputs)
