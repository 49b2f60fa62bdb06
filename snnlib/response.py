"""What a network answers: currents and readout of its output layer at every step."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from snnlib.spec.model import Ties


@dataclass(frozen=True, kw_only=True)
class Response:
    """The output layer over time.

    Attributes:
        current_TBK: its synaptic currents.
        readout_TBK: what logits are read from: the currents, or spikes or traces of the neurons
            that they drive.
        target_T: trace of the true class that HoSNN's losses compare with; None without traces.
    """

    current_TBK: Tensor
    readout_TBK: Tensor
    target_T: Tensor | None = None

    @property
    def logits(self) -> Tensor:
        """Time mean of the readout, [B, K]."""
        return self.readout_TBK.mean(0)

    def detached(self) -> "Response":
        """The same values without the graph that made them."""
        current_TBK = self.current_TBK.detach()
        same = self.readout_TBK is self.current_TBK
        readout_TBK = current_TBK if same else self.readout_TBK.detach()
        return replace(self, current_TBK=current_TBK, readout_TBK=readout_TBK)

    def predicted(self, ties: Ties = "current") -> Tensor:
        """The class of the largest readout, [B].

        Spike counts and traces are often equal: then the larger mean current decides, or the
        first class.
        """
        total_BK = self.readout_TBK.sum(0)
        if ties == "first" or self.readout_TBK is self.current_TBK:
            return total_BK.argmax(1)
        behind_BK = total_BK < total_BK.amax(1, keepdim=True)
        return self.current_TBK.sum(0).masked_fill(behind_BK, float("-inf")).argmax(1)


def mean(responses: Sequence[Response]) -> Response:
    """What a network answers on average, e.g. over draws of its noise."""
    first, *others = responses
    if not others:
        return first
    current_TBK = torch.stack([one.current_TBK for one in responses]).mean(0)
    if first.readout_TBK is first.current_TBK:
        return replace(first, current_TBK=current_TBK, readout_TBK=current_TBK)
    readout_TBK = torch.stack([one.readout_TBK for one in responses]).mean(0)
    return replace(first, current_TBK=current_TBK, readout_TBK=readout_TBK)
