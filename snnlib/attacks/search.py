"""Attacks without gradients: Square, and points drawn at random."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import torch
from torch import Tensor

from snnlib import noise
from snnlib.attacks.ball import Ball
from snnlib.attacks.expectation import averaged
from snnlib.attacks.gradient import Candidate, Candidates
from snnlib.attacks.guards import per_sample
from snnlib.attacks.part import Part
from snnlib.classifier import SpikingClassifier
from snnlib.losses import margin
from snnlib.response import Response
from snnlib.spec.attack import RandomNoise, Square

SHRINKS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""Queries of 10,000 after which the share of changed pixels halves (Andriushchenko et al. 2020, 4)."""
DRAWN = 3
"""Queries drawn for each that is to be asked."""


def random_noise(
    model: SpikingClassifier,
    origin: Tensor,
    labels_B: Tensor,
    *,
    attack: RandomNoise,
    epsilons: Sequence[Fraction],
    key: noise.Key,
) -> Candidates:
    """Points drawn uniformly from the ball, one candidate each."""
    whole = Part.whole(origin, labels_B, key, attack.space)
    standing_EB = None
    for index, exact in enumerate(epsilons):
        for draw in range(attack.draws):
            part = whole.standing(standing_EB, index)
            if part is None:
                break
            ball = Ball.around(model, part.origin, float(exact), attack.threat)
            z = ball.scattered(replace(part.key, stream=f"{key.stream}/draw/{draw}"))
            standing_EB = yield _blind(part, index, z, draw + 1)


def square(  # noqa: PLR0913 - as every attack, and `room`
    model: SpikingClassifier,
    origin: Tensor,
    labels_B: Tensor,
    *,
    attack: Square,
    epsilons: Sequence[Fraction],
    key: noise.Key,
    room: int = 0,
) -> Candidates:
    """Random search over square patches (Andriushchenko et al. 2020, arXiv 1912.00049, algorithm 2).

    From vertical stripes of +-epsilon on, each query sets every channel of a random square to
    +-epsilon and is kept if the margin grew; squares shrink with the queries made. Each sample has
    squares of its own. Time steps count as channels.

    A network under noise is asked for its mean margin over as many draws as it decides by, so each
    query costs so many passes. All queries meet the same draws: chance cannot lift one point above
    another. Whoever judges draws anew, and the search goes on after a point that fooled.
    """
    whole = Part.whole(origin, labels_B, key, attack.space)
    standing_EB = None
    for index, exact in enumerate(epsilons):
        for restart in range(attack.restarts):
            part = whole.standing(standing_EB, index)
            if part is None:
                break
            ball = Ball.around(model, part.origin, float(exact), attack.threat)
            own = replace(part, key=replace(part.key, stream=f"{key.stream}/restart/{restart}"))
            with torch.no_grad():
                search = _Search(model, own, ball, attack, room)
                search.run()
            queries_B = restart * attack.queries + search.made()
            standing_EB = yield _blind(part, index, search.z, queries_B)


def _blind(part: Part, index: int, z: Tensor, steps_B: Tensor | int) -> Candidate:
    """A candidate of an attack that looks at no gradient: none was found to be zero."""
    zero_B = torch.zeros_like(part.labels_B, dtype=torch.bool)
    return Candidate(
        epsilon=index, z=z, zero_gradient_B=zero_B, steps_B=steps_B, rows_B=part.rows_B
    )


class _Search:
    """Searches of several samples, each at a query of its own.

    Margins are functions of points. So no pass is spent on a query that names the point where its
    sample already is, or one that was refused since it last moved: with small squares that is every
    second one. Of the others several are asked at once, as if each were refused, as most are; after
    one that is kept they are drawn anew. What is found is that of one query after the other.

    Attributes:
        z: the points of the largest margin.
    """

    def __init__(
        self, model: SpikingClassifier, part: Part, ball: Ball, attack: Square, room: int
    ) -> None:
        self._model, self._part, self._ball = model, part, ball
        self._room, self._queries = room, attack.queries
        self._sides = [_side(attack, query, ball) for query in range(attack.queries)]
        self._lasting = model.noisy(attack.space)
        self.z = _striped(ball, part.key)
        self._margins: list[float] = _margin(model, self.z, part).tolist()
        self._made = [1] * len(self._margins)
        self._refused = [1] * len(self._margins)
        self._tried: list[set[tuple[float, ...]]] = [set() for _ in self._margins]

    def made(self) -> Tensor:
        """Queries made until a point fooled; all, under noise or if none did."""
        return torch.tensor(self._made, device=self._part.labels_B.device)

    def run(self) -> None:
        """Make all queries."""
        while open_ := [place for place in range(len(self._made)) if self._goes_on(place)]:
            share = max(self._room // len(open_), 1)
            ahead = {place: min(share, self._refused[place]) for place in open_}
            self._ask(self._drawn(ahead), ahead)

    def _goes_on(self, place: int) -> bool:
        # what fools already stays as it is
        fooled = self._margins[place] > 0 and not self._lasting
        return self._made[place] < self._queries and not fooled

    def _drawn(self, ahead: Mapping[int, int]) -> "_Queries":
        """The next queries, more than are to be asked: some need not be."""
        owners: list[int] = []
        numbers: list[int] = []
        for place, count in ahead.items():
            first = self._made[place]
            last = min(first + DRAWN * count, self._queries)
            numbers += range(first, last)
            owners += [place] * (last - first)
        rows = self._rows(owners)
        at = rows.of(self.z)
        ball = replace(self._ball, origin=rows.origin)
        sides = [self._sides[number] for number in numbers]
        moved, names = _patched(at, ball, sides, rows.key, numbers)
        same_R = (per_sample(moved, rows.space) == per_sample(at, rows.space)).all(1).tolist()
        known = [None if same else name for name, same in zip(names, same_R, strict=True)]
        return _Queries(owners=owners, numbers=numbers, moved=moved, names=known)

    def _rows(self, owners: Sequence[int]) -> Part:
        """Samples at places of this search, some perhaps several times."""
        part, places_R = self._part, torch.tensor(owners, device=self._part.labels_B.device)
        return replace(
            part,
            origin=part.origin.index_select(self._ball.axis, places_R),
            labels_B=part.labels_B[places_R],
            key=replace(part.key, samples_B=part.key.samples_B[places_R]),
            rows_B=places_R,
        )

    def _ask(self, queries: "_Queries", ahead: Mapping[int, int]) -> None:
        """Ask about as many as are wanted of each sample, and keep its first that is better."""
        asked = self._chosen(queries, ahead)
        if not asked:
            return
        owners, axis = [queries.owners[row] for row in asked], self._ball.axis
        asked_R = torch.tensor(asked, device=self._part.labels_B.device)
        moved = queries.moved.index_select(axis, asked_R)
        margins = _margin(self._model, moved, self._rows(owners)).tolist()
        kept: dict[int, int] = {}
        for row, (place, found) in enumerate(zip(owners, margins, strict=True)):
            if place in kept:
                continue
            if found <= self._margins[place]:
                self._refused[place] += 1
                continue
            kept[place], self._margins[place] = row, found
            self._made[place] = queries.numbers[asked[row]] + 1
            self._refused[place], self._tried[place] = 1, set()
        if kept:
            places_B, rows_B = (asked_R.new_tensor(list(x)) for x in (kept, kept.values()))
            self.z.index_copy_(axis, places_B, moved.index_select(axis, rows_B))

    def _chosen(self, queries: "_Queries", ahead: Mapping[int, int]) -> list[int]:
        """Which of the queries to ask; those before and between them count as made."""
        chosen, left = [], dict(ahead)
        for row, (place, name) in enumerate(zip(queries.owners, queries.names, strict=True)):
            if left[place] < 0:
                continue
            if name is not None and name not in self._tried[place]:
                left[place] -= 1
                if left[place] < 0:
                    continue
                self._tried[place].add(name)
                chosen.append(row)
            self._made[place] = queries.numbers[row] + 1
        return chosen


@dataclass(frozen=True, kw_only=True)
class _Queries:
    """Points to ask about, those of a sample behind each other in the order of its queries.

    Attributes:
        owners: places of their samples.
        numbers: of the queries.
        moved: the points.
        names: the square, equal for equal points of a sample that has not moved; None where the
            point is where its sample is.
    """

    owners: list[int]
    numbers: list[int]
    moved: Tensor
    names: list[tuple[float, ...] | None]


def _margin(model: SpikingClassifier, z: Tensor, part: Part) -> Tensor:
    """The margin, of logits summed over time; positive also where a tie is decided for another class."""
    draws = model.decision_draws if model.noisy(part.space) else 1
    with model.keyed(part.key):
        response = _summed(averaged(model, z, part.space, draws))
    found_B = margin(response, part.labels_B)
    tiny = torch.finfo(found_B.dtype).tiny
    return torch.where(model.decided(response) == part.labels_B, found_B, found_B.clamp(min=tiny))


def _summed(response: Response) -> Response:
    """Over time, as one step.

    Step after step: a reduction rounds by where a sample stands in its batch, and a search that
    compares margins would depend on its company.
    """
    current_TBK, readout_TBK = response.current_TBK, response.readout_TBK
    total_TBK = sum(current_TBK[1:], current_TBK[0])[None]
    if readout_TBK is current_TBK:
        return replace(response, current_TBK=total_TBK, readout_TBK=total_TBK)
    readout_TBK = sum(readout_TBK[1:], readout_TBK[0])[None]
    return replace(response, current_TBK=total_TBK, readout_TBK=readout_TBK)


def _side(attack: Square, query: int, ball: Ball) -> int:
    """Side of the square, in pixels: it holds p of them, p halved as queries go by."""
    done = query / attack.queries * 10_000
    share = float(attack.share) / 2 ** sum(done > limit for limit in SHRINKS)
    height, width = ball.origin.shape[-2:]
    side = max(round(math.sqrt(share * height * width)), 1)
    return min(side, height - 1 or 1, width - 1 or 1)


def _striped(ball: Ball, key: noise.Key) -> Tensor:
    """+-epsilon by channel and column."""
    rows = ball.origin.movedim(ball.axis, 0)
    shape = (*rows.shape[1:-2], 1, rows.shape[-1])
    signs = _signs(shape, replace(key, stream=f"{key.stream}/stripes"), rows)
    return ball.project(ball.origin + ball.epsilon * signs.movedim(0, ball.axis))


def _patched(
    z: Tensor, ball: Ball, sides: Sequence[int], key: noise.Key, queries: Sequence[int]
) -> tuple[Tensor, list[tuple[float, ...]]]:
    """One random square of each sample set to +-epsilon by channel; side, corner and signs of each.

    Args:
        z: the points.
        ball: where to stay.
        sides: of the squares, in pixels.
        key: of the search.
        queries: number of the query of each sample.
    """
    rows = ball.origin.movedim(ball.axis, 0)
    height, width = rows.shape[-2:]
    own = replace(key, stream=f"{key.stream}/squares")
    drawn_B2 = noise.uniform((2,), own, queries).to(rows.device)
    sides_B = torch.tensor(sides, device=rows.device)
    inside, corners = None, []
    for place, (axis, length) in enumerate(((-2, height), (-1, width))):
        first_B = (drawn_B2[:, place] * (length - sides_B + 1)).floor()
        at = torch.arange(length, device=rows.device) - first_B[:, None]
        within = (at >= 0) & (at < sides_B[:, None])
        within = within.view(len(at), *[1] * (rows.ndim - 3), *_as(axis, length))
        inside = within if inside is None else inside & within
        corners.append(first_B)
    assert inside is not None
    colours = replace(key, stream=f"{key.stream}/colours")
    signs = _signs((*rows.shape[1:-2], 1, 1), colours, rows, queries)
    moved = torch.where(inside, rows + ball.epsilon * signs, z.movedim(ball.axis, 0))
    names = torch.cat([torch.stack([sides_B, *corners], 1), signs.flatten(1)], 1).tolist()
    return ball.project(moved.movedim(0, ball.axis)), list(map(tuple, names))


def _as(axis: int, length: int) -> tuple[int, int]:
    return (length, 1) if axis == -2 else (1, length)


def _signs(
    shape: Sequence[int], key: noise.Key, like: Tensor, draw: int | Sequence[int] = 0
) -> Tensor:
    """-1 or 1, keyed on the sample, [B, *shape]."""
    return torch.where(noise.uniform(shape, key, draw).to(like.device) < 0.5, -1.0, 1.0).to(like)
