"""What jobs write, and the index of it, one operation at a time, on a small run root."""

from fractions import Fraction
from typing import Any

import torch

from jobs import attempts, checkpoint, files, records
from jobs.checkpoint import State
from jobs.dispatch import breaker
from jobs.layout import RunRoot
from jobs.planning import survey
from jobs.planning.index import Index
from jobs.planning.request import work_order
from jobs.running import partial
from jobs.running.partial import Part, Subject, Writer
from tests.examples import record
from tests.faults.operations import CELLS, ONE, Operation, claimed, nothing, one, training

CLEAN, FGSM = ONE.attack_ids
SUBJECT = Subject(attack_id=FGSM, model_sha256="m", samples_sha256="s", total=6, batch=2)
EPSILON = Fraction(8, 255)


def _newest(root: RunRoot) -> Any:
    paths = one(root)
    last = attempts.read(paths, attempts.numbers(paths)[-1])
    return paths.spec.read_bytes(), last.claimed, last.state, last.submission


def _to_attack(root: RunRoot) -> None:
    claimed(root)
    files.create(one(root).training, files.dumps(training(ONE.training_id, ONE.label)))


def _recorded(root: RunRoot) -> None:
    for attack_id, grid in ((CLEAN, (Fraction(0),)), (FGSM, (EPSILON,))):
        records.write(one(root), record(ONE, attack_id, grid))


def _rows(root: RunRoot) -> Any:
    return sorted(survey.progress(root, [ONE], Index(root, trust=False))[ONE.training_id].rows)


def _batch(root: RunRoot) -> None:
    numbers = attempts.numbers(one(root))
    path = one(root).finished_batches(FGSM, (numbers or [0])[-1] + 1, 0)
    path.parent.parent.mkdir(parents=True, exist_ok=True)
    attempts.take(one(root))
    writer = Writer(path, partial.header(SUBJECT, {"world_size": 1, "codes": []}))
    for start in (0, 2, 4):
        flags = (True, start > 0)
        row = Part(epsilon=EPSILON, correct=sum(flags), total=2, mask=flags, zero_gradient=0)
        writer.add(partial.batch(start, [row], 1.0))
        writer.save()


def _batches(root: RunRoot) -> Any:
    return partial.read(one(root).partial(FGSM), SUBJECT, [EPSILON]).parts


def _without_batches(root: RunRoot) -> None:
    partial.remove(one(root).partial(FGSM))


def _failed(root: RunRoot) -> None:
    claimed(root)
    attempts.end(one(root).attempt(1), "failed", "why", signature="ValueError: #", tail=["x"])


def _noted(root: RunRoot) -> None:
    last = attempts.read(one(root), 1)
    breaker.note(root, root.submission(1), work_order(ONE, ONE.rows), last)


def _failures(root: RunRoot) -> Any:
    lines = (next(files.read_lines(path)) for path in root.submission(1).failures.glob("[!.]*"))
    return [line["signature"] for line in lines]


def _index(root: RunRoot) -> None:
    index = Index(root)
    survey.progress(root, CELLS, index)
    index.save()


def _grown(root: RunRoot) -> None:
    _to_attack(root)
    _index(root)
    _recorded(root)


def _indexed(root: RunRoot) -> Any:
    index = Index(root)
    survey.progress(root, CELLS, index)
    return {key: (entry.names, entry.rows) for key, entry in index.entries.items()}


def _state(step: int) -> State:
    weights = {"w": torch.full((3,), float(step))}
    return State(step=step, world_size=1, codes=(), model=weights, best=weights, rest={"n": step})


def _saved(root: RunRoot) -> None:
    for step in (1, 2):
        checkpoint.save(one(root), 1, _state(step))


def _save(root: RunRoot) -> None:
    checkpoint.save(one(root), 1, _state(3))


def _resumable(root: RunRoot) -> Any:
    found = checkpoint.newest(one(root), lambda path, why: None)
    return found and (found[1].step, found[1].model["w"].tolist(), found[1].rest)


def _final(root: RunRoot) -> None:
    name, sha256 = checkpoint.save_final(one(root), 2, _state(3).model, {"step": 3})
    about = {"model_sha256": sha256, "checkpoint": name}
    files.create(one(root).training, files.dumps({**training(ONE.training_id, "x"), **about}))
    checkpoint.clear(one(root))


def _trained(root: RunRoot) -> Any:
    left = sorted(path.name for path in one(root).checkpoints.glob("[!.]*"))
    return left, checkpoint.load_final(one(root))[0]["w"].tolist()


OF_JOBS = [
    Operation(name="claim", before=nothing, act=claimed, seen=_newest),
    Operation(
        name="end",
        before=claimed,
        act=lambda root: attempts.end(one(root).attempt(1), "failed", "why"),
        seen=_newest,
    ),
    Operation(name="record", before=_to_attack, act=_recorded, seen=_rows),
    Operation(name="batches", before=_to_attack, act=_batch, seen=_batches),
    Operation(name="no batches", before=_batch, act=_without_batches, seen=_batches),
    Operation(name="failure", before=_failed, act=_noted, seen=_failures),
    Operation(name="index", before=nothing, act=_index, seen=_indexed),
    Operation(name="longer index", before=_grown, act=_index, seen=_indexed),
    Operation(name="checkpoint", before=_saved, act=_save, seen=_resumable),
    Operation(name="final network", before=_saved, act=_final, seen=_trained),
]
