"""Start a network from the weights of another."""

from collections.abc import Mapping

from torch import Tensor, nn

from snnlib.errors import SnnlibError

_OWN = (".neuron.theta", ".neuron.nds")
_DROPPED = "layers.output.norm."


def load(module: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Load weights, in place.

    A TA-LIF network started from a LIF one keeps its own thetas and signatures, and drops the batch
    normalisation of the output layer that only the LIF network has (as HoSNN does). All else must
    agree.

    Raises:
        SnnlibError: naming every tensor that is absent, unknown or of another shape.
    """
    own = module.state_dict()
    absent = [name for name in own if name not in weights and not name.endswith(_OWN)]
    unknown = [name for name in weights if name not in own and not name.startswith(_DROPPED)]
    both = [name for name in own if name in weights]
    faults = [
        f"{name} is {_times(weights[name])} instead of {_times(own[name])}"
        for name in both
        if weights[name].shape != own[name].shape
    ]
    faults += [f"{name} is absent" for name in absent] + [f"{name} is unknown" for name in unknown]
    if faults:
        more = f" and {len(faults) - 4} more" if len(faults) > 4 else ""
        raise SnnlibError(f"the weights to start from do not fit: {'; '.join(faults[:4])}{more}")
    module.load_state_dict({**own, **{name: weights[name] for name in both}})


def _times(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "one number"
