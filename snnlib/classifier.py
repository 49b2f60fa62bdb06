"""A spiking network as a classifier of images: it alone owns reset, encoding, time and readout."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from snnlib import noise, surrogates
from snnlib.encoders import Encode
from snnlib.errors import NoGradient
from snnlib.spec.attack import Own, Space
from snnlib.spec.model import Surrogate


class SpikingClassifier(nn.Module):
    """Images to logits.

    No state survives a call: every layer that has a `reset` is reset before and after, so two calls with equal
    input give equal logits and no computation graph outlives its use.
    """

    def __init__(self, layers: nn.Module, *, encode: Encode, time_steps: int) -> None:
        """Wrap layers.

        Args:
            layers: [T, B, C, H, W] to [T, B, K], the currents or spikes of the output layer.
            encode: from images of each step to the input of `layers`.
            time_steps: T.
        """
        super().__init__()
        self.layers = layers
        self.time_steps = time_steps
        self._encode = encode
        self._stateful: list[Any] = [m for m in layers.modules() if hasattr(m, "reset")]
        self._spiking: list[Any] = [m for m in layers.modules() if hasattr(m, "surrogate_function")]
        self._key: noise.Key | None = None
        self._draw = 0

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

    def logits(self, z: Tensor, space: Space) -> Tensor:
        """Logits [B, K], the time mean of the output layer, at a point of a space."""
        x_TBCHW = z.expand(self.time_steps, *z.shape) if space == "pixel" else z
        if space != "encoded":
            x_TBCHW = self._encoded(x_TBCHW)
        self._reset()
        try:
            output_TBK: Tensor = self.layers(x_TBCHW)
        finally:
            self._reset()
        return output_TBK.mean(0)

    def _encoded(self, x_TBCHW: Tensor) -> Tensor:
        draw, self._draw = self._draw, self._draw + 1
        return self._encode(x_TBCHW, self._key, draw)

    def _reset(self) -> None:
        for module in self._stateful:
            module.reset()

    @property
    def spiking_layers(self) -> dict[str, nn.Module]:
        """The spiking layers by name, in the order of the network."""
        return {name: m for name, m in self.layers.named_modules() if m in self._spiking}

    @contextmanager
    def keyed(self, key: noise.Key) -> Iterator[None]:
        """Make the encoder's noise a function of the key and of the calls counted from here."""
        before = self._key, self._draw
        self._key, self._draw = key, 0
        try:
            yield
        finally:
            self._key, self._draw = before

    @contextmanager
    def surrogate(self, spec: Surrogate | Own) -> Iterator[None]:
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
def frozen(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without parameter gradients; modes and flags come back afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    flags = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    try:
        model.eval()
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


def state_hash(module: nn.Module) -> str:
    """SHA-256 over names, types, shapes and bytes of all parameters and buffers."""
    digest = hashlib.sha256()
    for name, tensor in module.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
