"""Where an attacker may go: the ball around each point, cut by the bounds of inputs."""

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from snnlib import noise
from snnlib.attacks.guards import batch_axis
from snnlib.classifier import Bounds, SpikingClassifier
from snnlib.spec.attack import ThreatModel


@dataclass(frozen=True, kw_only=True)
class Ball:
    """The points that differ from `origin` by at most `epsilon`, each sample by itself.

    Attributes:
        origin: points of the attack's space.
        epsilon: radius, in the units of that space.
        threat: norm and space.
        bounds: least and greatest value; None if none bind.
    """

    origin: Tensor
    epsilon: float
    threat: ThreatModel
    bounds: Bounds | None

    @classmethod
    def around(
        cls, model: SpikingClassifier, origin: Tensor, epsilon: float, threat: ThreatModel
    ) -> Self:
        """The ball of a threat model, within the bounds of the network's inputs if they bind."""
        bounds = _like(origin, *model.bounds(threat.space)) if threat.clip else None
        return cls(origin=origin, epsilon=epsilon, threat=threat, bounds=bounds)

    @property
    def axis(self) -> int:
        """Which axis counts samples."""
        return batch_axis(self.threat.space)

    def lengths(self, step: Tensor) -> Tensor:
        """Norm of a difference of points, one for each sample, shaped to multiply points."""
        if self.threat.norm == "linf":
            return self._largest(step)
        return step.square().sum(self._over(step), keepdim=True).sqrt()

    def scaled(self, g: Tensor) -> Tensor:
        """A gradient over a power of two for each sample, so that its largest value is in [1, 2).

        Squares of what a saturated or a huge loss gives would vanish or overflow. An ordinary
        gradient loses no bit.
        """
        largest = self._largest(g)
        power = largest / (2 * torch.frexp(largest).mantissa)
        return g / torch.where(largest > 0, power, 1.0)

    def _largest(self, points: Tensor) -> Tensor:
        return points.abs().amax(self._over(points), keepdim=True)

    def _over(self, points: Tensor) -> tuple[int, ...]:
        """The axes of one sample's values."""
        return tuple(axis for axis in range(points.ndim) if axis != self.axis)

    def shaped(self, value_B: Tensor) -> Tensor:
        """One value per sample, shaped to multiply points or to choose between them."""
        shape = [1] * self.origin.ndim
        shape[self.axis] = -1
        return value_B.view(shape)

    def clip(self, z: Tensor) -> Tensor:
        """Values within the bounds."""
        return z if self.bounds is None else z.clamp(*self.bounds)  # type: ignore[arg-type]

    def project(self, z: Tensor) -> Tensor:
        """The nearest point of the ball, then of the bounds, which leads no sample out of it."""
        if self.threat.norm == "linf":
            low, high = self.origin - self.epsilon, self.origin + self.epsilon
            return self.clip(torch.minimum(torch.maximum(z, low), high))
        step = z - self.origin
        length = self.lengths(step)
        # rounding must not leave the ball, so what is inside is not scaled
        shorter = torch.where(length > self.epsilon, self.epsilon / length.clamp(min=1e-30), 1.0)
        return self.clip(self.origin + step * shorter)

    def steepest(self, g: Tensor) -> Tensor:
        """Of the steps of norm 1 the one that climbs a gradient most; 0 where the gradient is 0."""
        if self.threat.norm == "linf":
            return g.sign()
        g = self.scaled(g)
        return g / self.lengths(g).clamp(min=1.0)  # shorter is only 0

    def scattered(self, key: noise.Key) -> Tensor:
        """Points drawn uniformly from the ball, then brought within the bounds."""
        unit = self._drawn(replace(key, stream=f"{key.stream}/start"))
        if self.threat.norm == "linf":
            return self.project(self.origin + self.epsilon * (2 * unit - 1))
        # a Gaussian has no direction; the r-th part of the ball's volume lies within r^(1/n)
        radius = self._drawn(replace(key, stream=f"{key.stream}/radius"), shape=(1,))
        power = self.origin.numel() / self.origin.shape[self.axis]
        other = self._drawn(replace(key, stream=f"{key.stream}/angle"))
        normal = (-2 * (1 - unit).log()).sqrt() * (2 * torch.pi * other).cos()
        step = self.steepest(normal) * radius ** (1 / power)
        return self.project(self.origin + self.epsilon * step)

    def _drawn(self, key: noise.Key, shape: tuple[int, ...] | None = None) -> Tensor:
        """Uniform numbers in [0, 1), of the shape of points or of another for each sample."""
        rows = self.origin.movedim(self.axis, 0)
        if shape is None:
            drawn = noise.uniform(rows.shape[1:], key)
        else:
            drawn = noise.uniform(shape, key).view(-1, *[1] * (rows.ndim - 1))
        return drawn.movedim(0, self.axis).to(self.origin)


def _like(origin: Tensor, low: float | Tensor, high: float | Tensor) -> Bounds:
    """Bounds that change no type of what they cut."""
    if isinstance(low, Tensor) and isinstance(high, Tensor):
        return low.to(origin), high.to(origin)
    return low, high
