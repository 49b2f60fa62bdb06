"""Adversarial examples of the first samples of an evaluation, kept for people to look at.

They travel with the outcomes of their batches, so a resumed evaluation has them all, and lie beside
the record as one safetensors file.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import chain
from typing import Any

import numpy as np
from safetensors.numpy import save

from jobs.records import Row
from jobs.running.partial import Parts, Points, Subject
from snnlib import noise
from snnlib.attacks.guards import batch_axis
from snnlib.classifier import SpikingClassifier, frozen
from snnlib.datasets import Batch, Split
from snnlib.evaluate import BatchOutcome
from snnlib.spec.attack import AnyAttack, Clean


def wanted(attack: AnyAttack, asked: int, start: int, count: int) -> int:
    """Of how many samples of a batch examples are kept.

    Args:
        attack: what is done.
        asked: samples of the whole evaluation, from its first on (`Evaluation.save_examples`).
        start: position of the batch's first sample.
        count: samples of the batch.
    """
    return 0 if isinstance(attack, Clean) else max(0, min(asked - start, count))


def taken(
    model: SpikingClassifier,
    attack: AnyAttack,
    outcome: BatchOutcome,
    batch: Batch,
    *,
    seed: int,
) -> Iterator[Points | None]:
    """The points of each radius, shown to the network once more for its decision."""
    if outcome.examples is None or isinstance(attack, Clean):
        yield from [None] * len(outcome.correct_EB)
        return
    axis = batch_axis(attack.space)
    key = noise.Key(seed=seed, stream="evaluation", samples_B=batch.samples_B)
    for found in outcome.examples:
        count = len(found)
        # a batch of the usual shape, which kernels round as they did before
        whole = found[-1:].expand(len(batch.labels_B), *found.shape[1:]).clone()
        whole[:count] = found
        with frozen(model), model.keyed(key):
            predicted_B, _ = model.predicted(whole.movedim(0, axis), attack.space)
        values = found.float().cpu().contiguous().numpy()
        yield Points(
            shape=tuple(found.shape),
            data=values.astype(values.dtype.newbyteorder("<")).tobytes(),
            predicted=tuple(predicted_B[:count].tolist()),
        )


def complete(parts: Parts, attack: AnyAttack, asked: int, subject: Subject) -> Parts:
    """Those outcomes of earlier attempts that have all the points that are asked for now."""
    return {
        (start, epsilon): part
        for (start, epsilon), part in parts.items()
        if part.shown >= wanted(attack, asked, start, subject.count(start))
    }


def packed(
    split: Split, parts: Parts, rows: Sequence[Row], attack: AnyAttack, asked: int
) -> tuple[bytes, dict[str, Any]] | None:
    """The file's content, and what the record says of it; None if nothing was asked for.

    Tensors of N samples at E radii: `images` [N, C, H, W] as they are, `labels` [N], `samples` [N]
    (their identity in the data set), `examples` [E, N, ...] in the attack's space, `predicted`
    [E, N], `correct` [E, N]. Radii stand in the metadata, as fractions.

    Args:
        split: the evaluation set.
        parts: outcomes of all batches.
        rows: of the record.
        attack: what was done.
        asked: how many samples.
    """
    count = wanted(attack, asked, 0, len(split))
    if isinstance(attack, Clean) or not count:
        return None
    first = split.first(count)
    found = [_first(parts, row.epsilon, count) for row in rows]
    data = np.frombuffer(b"".join(points.data for points in found), "<f4")
    tensors = {
        "images": first.images(slice(None)).cpu().numpy(),
        "labels": first.labels_N.cpu().numpy(),
        "samples": first.indices_N.cpu().numpy(),
        "examples": data.reshape(len(rows), *found[0].shape),
        "predicted": np.array([points.predicted for points in found], np.int64),
        "correct": np.array([row.mask[:count] for row in rows], np.bool_),
    }
    radii = [f"{row.epsilon.numerator}/{row.epsilon.denominator}" for row in rows]
    # one key: several would come in another order each time
    about = json.dumps({"epsilons": radii, "space": attack.space})
    content = save(tensors, metadata={"spikegrid": about})
    return content, {"samples": count, "sha256": hashlib.sha256(content).hexdigest()}


def _first(parts: Parts, epsilon: Fraction, count: int) -> Points:
    """The points of the first samples at one radius, out of as many batches as they lie in."""
    batches = [
        _cut(part.points, count - start)
        for (start, radius), part in sorted(parts.items())
        if radius == epsilon and start < count and part.points is not None
    ]
    return Points(
        shape=(count, *batches[0].shape[1:]),
        data=b"".join(points.data for points in batches),
        predicted=tuple(chain.from_iterable(points.predicted for points in batches)),
    )


def _cut(points: Points, count: int) -> Points:
    """Those of the first samples; an earlier attempt may have been asked for more."""
    kept = min(count, points.shape[0])
    return Points(
        shape=(kept, *points.shape[1:]),
        data=points.data[: kept * len(points.data) // points.shape[0]],
        predicted=points.predicted[:kept],
    )
