"""The layers of networks whose neurons exchange traces: LIF and threshold-adapting LIF."""

from collections.abc import Callable
from types import ModuleType

import torch
from torch import Tensor, nn

from snnlib.errors import SnnlibError
from snnlib.neurons import fused, trace
from snnlib.neurons.trace import Adaptation, Constants
from snnlib.spec.neuron import TALIF, AttackRule, ThetaGradient, TraceLIF
from snnlib.surrogates import SpikeFunction

Recorder = Callable[[Tensor, Constants, Adaptation | None], Tensor]
"""(currents [T, B, *shape], constants, what moves the thresholds) to traces of that shape."""


class TraceLIFNode(nn.Module):
    """LIF that emits traces of its spikes. No state is kept between calls.

    Attributes:
        surrogate_function: exchangeable between calls.
        gradient: `bptt`, `tsslbp` or an attacker's `bptr`, exchangeable between calls.
        plain: compute the equations step by step instead of fused; equal up to rounding.
        recorder: computes the traces in place of the layer, without a gradient, to see its states
            (`fused.watched`); none unless set.
    """

    gradient: AttackRule
    theta_gradient: ThetaGradient = "sample"

    def __init__(self, spec: TraceLIF | TALIF, surrogate_function: SpikeFunction) -> None:
        super().__init__()
        self.constants = Constants.of(spec)
        self.surrogate_function = surrogate_function
        self.gradient = spec.gradient
        self.plain = False
        self.recorder: Recorder | None = None

    def adaptation(self, _current_TB: Tensor) -> Adaptation | None:
        """What moves the thresholds: nothing."""
        return None

    def forward(self, current_TB: Tensor) -> Tensor:
        """Currents [T, B, *shape] to traces of the same shape.

        Raises:
            SnnlibError: `gradient` is no rule, or a signature does not fit the currents.
        """
        adaptation = self.adaptation(current_TB)
        if self.recorder is not None:
            return self.recorder(current_TB, self.constants, adaptation)
        how: ModuleType = trace if self.plain else fused
        known = (current_TB, self.constants, self.surrogate_function, adaptation)
        traces_TB: Tensor
        match self.gradient:
            case "bptt":
                traces_TB = how.bptt(*known)
            case "tsslbp":
                traces_TB = how.tsslbp(*known, self.theta_gradient)
            case "bptr":
                traces_TB = fused.bptr(*known)
            case unknown:
                raise SnnlibError(f"gradient rule '{unknown}' is not known: bptt, tsslbp or bptr")
        return traces_TB

    def spike_counts(self, trace_TB: Tensor) -> Tensor:
        """How many spikes, in all, an output of this layer stands for.

        Inverts a_t = a_{t-1} + (s_t - a_{t-1}) / tau_s, summed over time: the sum of s is that of
        a over all steps but the last, plus tau_s a_T.

        Args:
            trace_TB: [T, B, *shape].

        Returns:
            One whole number, float64.
        """
        trace_TB = trace_TB.detach()
        counts_B = trace_TB[:-1].sum(0).add_(trace_TB[-1], alpha=self.constants.tau_s)
        return counts_B.round_().sum(dtype=torch.float64)


class TALIFNode(TraceLIFNode):
    """LIF whose thresholds steer its membranes towards a signature (HoSNN).

    Attributes:
        theta: parameter [*shape], one per neuron; 1/tau_v at first.
        nds: buffer [T, *shape], the signature; 0 at first.
        theta_gradient: which gradient theta gets under `tsslbp`.
    """

    nds: Tensor

    def __init__(
        self,
        spec: TALIF,
        surrogate_function: SpikeFunction,
        shape: tuple[int, ...],
        time_steps: int,
    ) -> None:
        if time_steps < 1 or not shape:
            raise SnnlibError(
                f"a ta_lif layer needs its shape and the number of time steps for its signature; "
                f"got {list(shape)} and {time_steps}"
            )
        super().__init__(spec, surrogate_function)
        self.theta_gradient = spec.theta_gradient
        self.theta = nn.Parameter(torch.full(shape, 1 / float(spec.tau_v)))
        self.register_buffer("nds", torch.zeros(time_steps, *shape))

    def adaptation(self, current_TB: Tensor) -> Adaptation:
        """Theta and signature.

        Raises:
            SnnlibError: if the currents have another shape or another number of steps.
        """
        steps, _, *shape = current_TB.shape
        if (steps, *shape) != self.nds.shape:
            raise SnnlibError(
                f"a ta_lif layer got currents of {steps} steps and neurons {shape}; its signature "
                f"has {len(self.nds)} steps and neurons {list(self.theta.shape)}"
            )
        return Adaptation(self.theta, self.nds)

    def constrain(self) -> None:
        """Raise negative theta to 0, in place."""
        with torch.no_grad():
            self.theta.clamp_(min=0)
