"""A spiking network as a classifier of images: it alone owns reset, encoding, time and readout."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from snnlib import noise, surrogates
from snnlib.encoders import Encode, poisson
from snnlib.errors import NoGradient
from snnlib.layers import KeyedDropout
from snnlib.response import Response, mean
from snnlib.spec.attack import Own, Space
from snnlib.spec.model import Ties
from snnlib.spec.neuron import AttackRule, AttackSurrogate
from snnlib.spec.training import AttackMode

Bounds = tuple[float | Tensor, float | Tensor]
"""Least and greatest value of an input; tensors [C, 1, 1] where channels differ."""


class Readout(nn.Module):
    """Neurons of the output layer, read instead of its currents.

    Attributes:
        neurons: [T, B, K] to spikes or traces.
        target_T: trace that the true class should have, if they emit traces.
        ties: what decides between classes of equal readout.
    """

    def __init__(
        self, neurons: nn.Module, target_T: Tensor | None = None, ties: Ties = "current"
    ) -> None:
        super().__init__()
        self.neurons, self.target_T, self.ties = neurons, target_T, ties

    def forward(self, current_TBK: Tensor) -> Tensor:
        """Spikes or traces of the output neurons."""
        output_TBK: Tensor = self.neurons(current_TBK)
        return output_TBK


class SpikingClassifier(nn.Module):
    """Images to logits.

    No state survives a call: every layer that has a `reset` is reset before and after, so two calls with equal
    input give equal logits and no computation graph outlives its use.

    Attributes:
        decision_draws: draws of its noise that it decides by (`predicted`); of use with a random
            encoder alone.
    """

    _low: Tensor
    _high: Tensor

    def __init__(
        self,
        layers: nn.Module,
        *,
        encode: Encode,
        time_steps: int,
        readout: Readout | None = None,
        bounds: Bounds = (0.0, 1.0),
    ) -> None:
        """Wrap layers.

        Args:
            layers: [T, B, C, H, W] to [T, B, K], the currents of the output layer.
            encode: from images of each step to the input of `layers`.
            time_steps: T.
            readout: neurons of the output layer; logits are read from the currents when None.
            bounds: where encoded inputs lie.
        """
        super().__init__()
        self.layers = layers
        self.readout = readout
        self.time_steps = time_steps
        self._encode = encode
        for name, bound in zip(("low", "high"), bounds, strict=True):
            value = bound if isinstance(bound, Tensor) else torch.tensor(bound, dtype=torch.float64)
            self.register_buffer(f"_{name}", value, persistent=False)  # moves with the network
        modules = [m for m in self.modules() if m is not self]
        self._stateful: list[Any] = [m for m in modules if hasattr(m, "reset")]
        self._spiking: list[Any] = [m for m in modules if hasattr(m, "surrogate_function")]
        self._random: list[Any] = [m for m in modules if hasattr(m, "draw")]
        self._key: noise.Key | None = None
        self._draw = self._calls = 0
        self.decision_draws = 1

    def forward(self, x: Tensor, space: Space = "pixel") -> Tensor:
        """Logits [B, K] of images [B, C, H, W], or of a point of another space (`lift`)."""
        return self.logits(x, space)

    def lift(self, x_BCHW: Tensor, space: Space) -> Tensor:
        """The point of a perturbation space that stands for an image.

        Args:
            x_BCHW: images.
            space: `pixel` gives x itself, `repeated` [T, B, C, H, W] before the encoder, `encoded`
                [T, B, C, H, W] after it (one draw of its noise).
        """
        if space == "pixel":
            return x_BCHW
        repeated = x_BCHW.expand(self.time_steps, *x_BCHW.shape)
        return (self._encoded(repeated) if space == "encoded" else repeated).contiguous()

    def bounds(self, space: Space) -> Bounds:
        """Where the points of a space lie: [0, 1], or its image under the encoder."""
        if space != "encoded":
            return 0.0, 1.0
        low, high = self._low, self._high
        return (low.item(), high.item()) if low.ndim == 0 else (low, high)

    def logits(self, z: Tensor, space: Space) -> Tensor:
        """Logits [B, K], the time mean of the readout, at a point of a space."""
        return self.response(z, space).logits

    def predicted(self, z: Tensor, space: Space) -> tuple[Tensor, Tensor]:
        """The class decided for, [B], and the logits [B, K].

        Of several draws of its noise the mean logits decide: unlike a majority of votes they use
        how sure each draw is, have an expectation that more draws come closer to, and seldom tie.
        """
        response = mean([self.response(z, space) for _ in range(self.decision_draws)])
        return self.decided(response), response.logits

    def decided(self, response: Response) -> Tensor:
        """The class that a response of this network decides for, [B]."""
        return response.predicted("first" if self.readout is None else self.readout.ties)

    def response(self, z: Tensor, space: Space) -> Response:
        """The output layer over time, at a point of a space."""
        x_TBCHW = z.expand(self.time_steps, *z.shape) if space == "pixel" else z
        if space != "encoded":
            x_TBCHW = self._encoded(x_TBCHW)
        self._hand_out_keys()
        self._reset()
        try:
            current_TBK: Tensor = self.layers(x_TBCHW)
            if self.readout is None:
                return Response(current_TBK=current_TBK, readout_TBK=current_TBK)
            return Response(
                current_TBK=current_TBK,
                readout_TBK=self.readout(current_TBK),
                target_T=self.readout.target_T,
            )
        finally:
            self._reset()

    def _encoded(self, x_TBCHW: Tensor) -> Tensor:
        draw, self._draw = self._draw, self._draw + 1
        return self._encode(x_TBCHW, self._key, draw)

    def _hand_out_keys(self) -> None:
        """Give every random layer a stream of noise of its own, new with each call."""
        for place, module in enumerate(self._random):
            module.key = self._key and replace(self._key, stream=f"{self._key.stream}/{place}")
            module.draw = self._calls
        self._calls += 1

    def _reset(self) -> None:
        for module in self._stateful:
            module.reset()

    @property
    def spiking_layers(self) -> dict[str, nn.Module]:
        """The spiking layers by name, in the order of the network."""
        return {
            name.removeprefix("layers."): module
            for name, module in self.named_modules()
            if module in self._spiking
        }

    @contextmanager
    def keyed(self, key: noise.Key) -> Iterator[None]:
        """Make all that changes between calls a function of the key and of the calls from here on.

        That is encoder noise, dropout, and surrogates that learn from the gradients they gave.
        """
        before = self._key, self._draw, self._calls
        self._key, self._draw, self._calls = key, 0, 0
        for function in (module.surrogate_function for module in self._spiking):
            if isinstance(function, surrogates.ASSG):
                function.forget()
        try:
            yield
        finally:
            self._key, self._draw, self._calls = before

    @property
    def keyed_samples(self) -> Tensor | None:
        """Identities of the samples that it is `keyed` to."""
        return None if self._key is None else self._key.samples_B

    def narrow(self, places_B: Tensor) -> None:
        """Go on with some of the samples only, inside `keyed`: noise and surrogates stay their own.

        Args:
            places_B: where they are among those of the key, ascending int64.
        """
        assert self._key is not None, "inside `keyed`"
        self._key = replace(self._key, samples_B=self._key.samples_B[places_B])
        for function in (module.surrogate_function for module in self._spiking):
            if isinstance(function, surrogates.ASSG):
                function.narrow(places_B)

    def noisy(self, space: Space) -> bool:
        """Whether two calls at one point of a space may differ: by the encoder's noise."""
        return space != "encoded" and self._encode is poisson

    @contextmanager
    def surrogate(self, spec: AttackSurrogate | Own) -> Iterator[None]:
        """Exchange the surrogate gradient of every spiking layer, unless it is to be its own."""
        before = [module.surrogate_function for module in self._spiking]
        try:
            if spec != "own":
                for module in self._spiking:
                    module.surrogate_function = surrogates.build(spec)
            yield
        finally:
            for module, function in zip(self._spiking, before, strict=True):
                module.surrogate_function = function

    @contextmanager
    def gradient(self, rule: AttackRule | Own) -> Iterator[None]:
        """Exchange the gradient rule of every neuron that has one, unless it is to be its own."""
        ruled = [module for module in self._spiking if hasattr(module, "gradient")]
        before = [module.gradient for module in ruled]
        try:
            if rule != "own":
                for module in ruled:
                    module.gradient = rule
            yield
        finally:
            for module, own in zip(ruled, before, strict=True):
                module.gradient = own


@contextmanager
def frozen(model: nn.Module, mode: AttackMode = "eval") -> Iterator[None]:
    """No gradients of parameters; their flags and all modes come back afterwards.

    Args:
        model: the network.
        mode: `eval`, or `train`, where batch normalisation takes the statistics of its batch and
            moves the running ones, still without dropout.
    """
    modes = [(module, module.training) for module in model.modules()]
    flags = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    try:
        model.train(mode == "train")
        for module, _ in modes:
            if isinstance(module, KeyedDropout):
                module.eval()
        for parameter, _ in flags:
            parameter.requires_grad = False
        yield
    finally:
        for module, training in modes:
            module.training = training
        for parameter, wanted in flags:
            parameter.requires_grad = wanted


def probe(classifier: SpikingClassifier, x_BCHW: Tensor) -> None:
    """Make sure that logits have a gradient with respect to images, as attacks see them.

    Raises:
        NoGradient: if the graph does not reach from logits to images. A gradient that is there
            and zero passes: it is a finding, not a fault.
    """
    x = x_BCHW.detach().clone().requires_grad_()
    key = noise.Key(seed=0, stream="probe", samples_B=torch.arange(len(x), device=x.device))
    with frozen(classifier), classifier.keyed(key), torch.enable_grad():
        total = classifier(x).sum()
        found = total.requires_grad and torch.autograd.grad(total, x, allow_unused=True)[0]
    if not isinstance(found, Tensor):
        raise NoGradient(
            "no gradient reaches from the logits to the image in evaluation mode: every attack "
            "would look weak; is a layer detached, or the spike function without a surrogate?"
        )
