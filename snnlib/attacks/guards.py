"""Refuse to believe an attack that broke its rules: the run fails, not the sample."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn

from snnlib.classifier import Bounds, SpikingClassifier
from snnlib.errors import GuardBroken, NotFinite
from snnlib.spec.attack import Space, ThreatModel

TOLERANCE = 1e-6
"""How far float32 rounding may carry a pixel beyond its bound; 1/255 is 4,000 times that."""


def batch_axis(space: Space) -> int:
    """Which axis of a point of a space counts the samples."""
    return 0 if space == "pixel" else 1


def per_sample(z: Tensor, space: Space) -> Tensor:
    """A point of a space as one row per sample, [B, n]."""
    return z.movedim(batch_axis(space), 0).flatten(1)


@contextmanager
def unchanged(model: nn.Module) -> Iterator[None]:
    """Hold that parameters and buffers are the same before and after.

    Raises:
        GuardBroken: if they are not.
    """
    before = [tensor.detach().clone() for tensor in model.state_dict().values()]
    yield
    after = model.state_dict().values()
    if not all(_same_bits(one, two) for one, two in zip(before, after, strict=True)):
        raise GuardBroken(
            "the attack changed parameters or buffers of the network (batch norm in training "
            "mode does that); every later sample would meet another network"
        )


def _same_bits(one: Tensor, two: Tensor) -> bool:
    """Bit for bit, NaN included."""
    bits = {2: torch.int16, 4: torch.int32, 8: torch.int64}.get(one.element_size(), torch.uint8)
    return torch.equal(one.reshape(-1).view(bits), two.detach().reshape(-1).view(bits))


def check(
    z: Tensor,
    origin: Tensor,
    *,
    epsilon: float,
    threat: ThreatModel,
    bounds: Bounds,
    samples_B: Tensor,
) -> None:
    """Hold that an attacked point is finite, in its ball and in its range.

    Args:
        z: attacked point.
        origin: the point it started from.
        epsilon: radius of the ball.
        threat: norm, space and whether the bounds bind.
        bounds: where the points of the space lie.
        samples_B: identities for the message.

    Raises:
        NotFinite: a value is NaN or infinite.
        GuardBroken: a value lies more than TOLERANCE outside.
    """
    rows = per_sample(z, threat.space)
    _refuse(~rows.isfinite(), samples_B, NotFinite, "is NaN or infinite after the attack")
    distance = (rows - per_sample(origin, threat.space)).abs()
    allowed = epsilon + TOLERANCE
    if threat.norm == "l2":
        distance = distance.norm(dim=1, keepdim=True)
        allowed += TOLERANCE * epsilon  # what is summed over thousands of values rounds more
    reason = f"left the {threat.norm} ball of radius {epsilon:.6g}"
    _refuse(distance > allowed, samples_B, GuardBroken, reason)
    if threat.clip:
        low, high = bounds
        outside = per_sample((z < low - TOLERANCE) | (z > high + TOLERANCE), threat.space)
        plain = isinstance(low, float) and isinstance(high, float)
        where = f"[{low:g}, {high:g}]" if plain else "of the normalised input"
        _refuse(outside, samples_B, GuardBroken, f"left the range {where}")


@contextmanager
def finite(model: SpikingClassifier) -> Iterator[None]:
    """Hold that what goes into a network's layers is finite, what comes out, and every gradient.

    Else a sample could pass for robust: NaN compares as false with everything, and its sign is 0.

    Raises:
        NotFinite: inside; a value is NaN or infinite.
    """

    def hold(value_TB: Tensor, what: str) -> None:
        # expanded in time it is the same at every step
        value_TB = value_TB[:1] if value_TB.stride(0) == 0 else value_TB
        finite_TB = value_TB.detach().isfinite()
        if not bool(finite_TB.all()):
            bad = ~finite_TB.movedim(1, 0).flatten(1)
            known_B = model.keyed_samples
            samples_B = torch.arange(len(bad), device=bad.device) if known_B is None else known_B
            _refuse(bad, samples_B, NotFinite, what)

    def before(_layers: nn.Module, inputs: tuple[Tensor]) -> None:
        (x_TBCHW,) = inputs
        hold(x_TBCHW, "is NaN or infinite during the attack")
        if x_TBCHW.requires_grad:
            what = "has a gradient that is NaN or infinite"
            x_TBCHW.register_hook(lambda g: hold(g, what))  # type: ignore[no-untyped-call]

    def after(_layers: nn.Module, _inputs: object, current_TBK: Tensor) -> None:
        hold(current_TBK, "has a logit that is NaN or infinite")

    with ExitStack() as hooks:
        for handle in (
            model.layers.register_forward_pre_hook(before),
            model.layers.register_forward_hook(after),
        ):
            hooks.callback(handle.remove)
        yield


def finite_logits(logits_BK: Tensor, samples_B: Tensor) -> None:
    """Hold that a network's answer can be judged.

    Raises:
        NotFinite: a logit is NaN or infinite.
    """
    _refuse(~logits_BK.isfinite(), samples_B, NotFinite, "has a logit that is NaN or infinite")


def _refuse(bad: Tensor, samples_B: Tensor, error: type[Exception], what: str) -> None:
    broken_B = bad.any(1)
    if bool(broken_B.any()):
        first = int(samples_B[torch.nonzero(broken_B)[0, 0]])
        raise error(f"sample {first} {what} ({int(broken_B.sum())} of {len(broken_B)} samples)")
