"""The one door to SpikingJelly and torchvision, silent and with their import faults cured.

Every other module takes them from here: `from snnlib.doors import neuron, surrogate`.
"""

import importlib
import logging
from types import ModuleType

import torch

# Registering custom operators makes torch log one line each where Triton is not installed.
logging.getLogger("torch._library.triton").setLevel(logging.ERROR)

from spikingjelly.activation_based import layer, neuron, surrogate  # noqa: E402

__all__ = ["layer", "neuron", "spikingjelly", "surrogate", "torchvision"]

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_declared: list[torch.library.Library] = []


def torchvision(module: str = "torchvision") -> ModuleType:
    """Import torchvision or one of its modules.

    torchvision built for CUDA beside a CPU build of torch cannot load its own operators and fails
    while it describes `nms`. Declaring the schemas is enough for datasets, transforms and models.

    Args:
        module: full name, e.g. "torchvision.datasets".
    """
    try:
        return importlib.import_module(module)
    except RuntimeError as error:
        if "torchvision::nms does not exist" not in str(error) or _declared:
            raise
    library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
    _declared.append(library)  # the declarations end with the object
    for schema in _SCHEMAS:
        library.define(schema)  # type: ignore[no-untyped-call]
    return importlib.import_module(module)


def spikingjelly(module: str) -> ModuleType:
    """Import one of SpikingJelly's modules, e.g. its model zoo, which imports torchvision.

    Args:
        module: name within its activation_based package, e.g. "model.sew_resnet" or "encoding".
    """
    torchvision()
    return importlib.import_module(f"spikingjelly.activation_based.{module}")
