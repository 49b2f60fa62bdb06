"""The circuit breaker: one error that comes again and again holds the rest of its submission.

Files are made on failures only, so a study that goes well pays nothing. A few cells that diverge
among ten thousand never stop the others; an error in the code, the data or a node's drivers does
after a handful.
"""

import itertools
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

from jobs import attempts, files, identity, processes
from jobs.attempts import Attempt
from jobs.dispatch import holds
from jobs.layout import RunRoot, SubmissionFiles

CELLS = 5
"""Cells that must fail with one signature: fewer can be the cells' own fault."""
SHARE = 2
"""One of so many concluded cells must have failed that way."""
NEAR = 200
"""Concluded cells are looked for among so many that are sent about when the failed one is."""
_NODES = 8
"""Nodes that a hold names at most."""


def note(root: RunRoot, paths: SubmissionFiles, order: Mapping[str, Any], failed: Attempt) -> bool:
    """Put a failed attempt on record, and hold its submission if enough failed alike.

    Args:
        root: the run root.
        paths: the submission.
        order: the cell's work order.
        failed: the attempt, as it ended.

    Returns:
        Whether this call held the submission.
    """
    epoch = holds.released(paths)
    kind = f"{epoch}-{identity.short_hash(failed.signature)}"
    paths.failures.mkdir(exist_ok=True)
    file = paths.failures / f"{kind}-{order['training_id']}.json"
    node = os.environ.get("SLURMD_NODENAME") or processes.host()
    tail = attempts.tail(root.cell(order["training_id"]).attempt(failed.number))
    line = {"label": order["label"], "signature": failed.signature, "node": node}
    if not files.create(file, files.dumps({**line, "line": tail[-1] if tail else ""})):
        return False  # the cell failed like this before
    alike = sorted(n for n in os.listdir(paths.failures) if n.startswith(f"{kind}-"))
    if len(alike) < CELLS or holds.in_force(paths):
        return False
    states = _concluded(root, paths, order["training_id"])
    if SHARE * states.count(failed.signature) < len(states):
        return False
    return _hold(paths, alike, {**line, "training_id": order["training_id"]})


def _concluded(root: RunRoot, paths: SubmissionFiles, training_id: str) -> list[str]:
    """Signatures of the concluded cells near one, by their newest attempts; empty of good ones."""
    cells = list(files.read_json(paths.plan)["cells"])
    first = max(0, cells.index(training_id) - NEAR // 2)
    found = []
    for key in itertools.islice(cells, first, first + NEAR):
        cell = root.cell(key)
        newest = [attempts.read(cell, number) for number in attempts.numbers(cell)[-1:]]
        ended = [a for a in newest if a.submission == paths.number]
        found += [a.signature for a in ended if a.state in {"completed", "failed", "out_of_memory"}]
    return found


def _hold(paths: SubmissionFiles, alike: Sequence[str], last: Mapping[str, Any]) -> bool:
    """Hold a submission for failures of one signature."""
    told = [next(files.read_lines(paths.failures / name), {}) for name in alike[:NEAR]]
    nodes = sorted({one["node"] for one in told if "node" in one})
    shown = ", ".join(nodes[:_NODES]) + (" and others" if len(nodes) > _NODES else "")
    reason = (
        f"{len(alike)} cells failed alike: {last['signature']} "
        f"(the last is {last['label']}; on {shown})"
    )
    lines = [one["line"] for one in told if one.get("line")]
    return holds.create(
        paths,
        reason,
        time.time(),
        signature=last["signature"],
        count=len(alike),
        training_id=last["training_id"],
        label=last["label"],
        line=lines[-1] if lines else "",
        nodes=nodes,
    )
