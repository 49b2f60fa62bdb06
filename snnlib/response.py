"""What a network answers: currents and readout of its output layer at every step."""

from dataclasses import dataclass

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
