"""The samples that an attack still works on: those that are broken may leave, none comes back."""

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from snnlib import noise
from snnlib.attacks.guards import batch_axis
from snnlib.spec.attack import Space


@dataclass(frozen=True, kw_only=True)
class Part:
    """Some samples of a batch.

    Attributes:
        origin: their points in the attack's space.
        labels_B: their classes.
        key: of their noise.
        rows_B: where they are in the batch that the attack was given, int64.
        space: the attack's.
    """

    origin: Tensor
    labels_B: Tensor
    key: noise.Key
    rows_B: Tensor
    space: Space

    @classmethod
    def whole(cls, origin: Tensor, labels_B: Tensor, key: noise.Key, space: Space) -> Self:
        """All samples of a batch."""
        rows_B = torch.arange(len(labels_B), device=labels_B.device)
        return cls(origin=origin, labels_B=labels_B, key=key, rows_B=rows_B, space=space)

    def at(self, places_B: Tensor) -> Self:
        """Those at some places of this part, ascending int64."""
        if len(places_B) == len(self.rows_B):
            return self
        return replace(
            self,
            origin=self.origin.index_select(batch_axis(self.space), places_B),
            labels_B=self.labels_B[places_B],
            key=replace(self.key, samples_B=self.key.samples_B[places_B]),
            rows_B=self.rows_B[places_B],
        )

    def of(self, points: Tensor) -> Tensor:
        """Their part of points of the whole batch."""
        return points.index_select(batch_axis(self.space), self.rows_B)

    def standing(self, standing_EB: Tensor | None, index: int) -> Self | None:
        """Those that stand at a radius; all if nothing is known, None if none does.

        Args:
            standing_EB: what of the whole batch stands, bool [epsilons, samples].
            index: position of the radius.
        """
        if standing_EB is None:
            return self
        places_B = self.places(standing_EB, index)
        return self.at(places_B) if len(places_B) else None

    def places(self, standing_EB: Tensor | None, index: int) -> Tensor:
        """Where in this part those are that stand at a radius, ascending int64."""
        if standing_EB is None:
            return torch.arange(len(self.rows_B), device=self.rows_B.device)
        return standing_EB[index, self.rows_B].nonzero()[:, 0]

    def times(self, count: int) -> Self:
        """All samples several times, for runs side by side: those of the first run come first."""
        if count == 1:
            return self
        return replace(
            self,
            origin=torch.cat([self.origin] * count, batch_axis(self.space)),
            labels_B=self.labels_B.repeat(count),
            key=replace(self.key, samples_B=self.key.samples_B.repeat(count)),
            rows_B=self.rows_B.repeat(count),
        )


WORTH = 8
"""A run goes on with fewer samples once at least one in so many has fallen."""


def remaining(fallen_B: Tensor) -> Tensor | None:
    """Places of the samples that go on, int64, perhaps none; None while too few have fallen.

    Every change of shape costs a copy, and on a GPU perhaps another kernel.
    """
    if int(fallen_B.sum()) * WORTH < len(fallen_B):
        return None
    return (~fallen_B).nonzero()[:, 0]


def side_by_side(room: int, part: Part, *, lasting: bool) -> int:
    """How many runs of a part's samples a pass of `room` points holds, at least one.

    One if no sample leaves: under noise each run has draws of its own.
    """
    return 1 if lasting else max(room // len(part.rows_B), 1)


def fallen(broken_N: Tensor, samples: int) -> Tensor:
    """Of runs side by side, where a sample is broken, by this run or one before it; bool [N].

    The runs after it would never have been made, one after the other.
    """
    return (broken_N.view(-1, samples).cumsum(0) > 0).view(-1)


def select(state: dict[str, Tensor], places_B: Tensor, space: Space) -> dict[str, Tensor]:
    """What a run remembers, of some of its samples only: points, or one value for each sample."""
    axis = batch_axis(space)
    return {
        name: value.index_select(axis if value.ndim > 1 else 0, places_B)
        for name, value in state.items()
    }
