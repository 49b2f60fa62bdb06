"""What of a work order is not on record yet, and what of that can be computed now."""

from collections.abc import Mapping
from typing import Any

from jobs import files, records
from jobs.layout import CellFiles, RunRoot
from jobs.planning.request import sources


def unfinished(root: RunRoot, order: Mapping[str, Any]) -> bool:
    """Whether a work order still has something that can be computed now."""
    cell = root.cell(order["training_id"])
    if not cell.training.exists():
        return True
    return bool(ready_rows(root, order) or missing_stages(cell, order))


def ready_rows(root: RunRoot, order: Mapping[str, Any]) -> dict[str, list[str]]:
    """Missing rows of a trained cell (`missing_rows`) that wait for no other network."""
    absent = _absent(root, order)
    missing = missing_rows(root.cell(order["training_id"]), order)
    return {key: epsilons for key, epsilons in missing.items() if key not in absent}


def _absent(root: RunRoot, order: Mapping[str, Any]) -> dict[str, str]:
    """Attack id → training id of the network it climbs on, where that is not trained yet."""
    named = sources(order)
    return {key: s for key, s in named.items() if not root.cell(s).training.exists()}


def leftover(root: RunRoot, order: Mapping[str, Any]) -> str:
    """What rows of a work order wait for that has nothing else to do, or nothing."""
    absent = _absent(root, order)
    if not absent or unfinished(root, order):
        return ""
    left = missing_rows(root.cell(order["training_id"]), order)
    waiting = [f"its transfer attack waits for {absent[key]}" for key in left]
    return f"{waiting[0]}, which is not trained" if waiting else ""


def missing_rows(cell: CellFiles, order: Mapping[str, Any]) -> dict[str, list[str]]:
    """Attack id → epsilons of a work order that are not recorded yet.

    A record about other weights than those that stand counts as none, as for `collect`.
    """
    standing = next(files.read_lines(cell.training), {}).get("model_sha256")
    recorded = records.rows_of(
        record for _, record in records.valid(cell) if standing in (None, record.model_sha256)
    )
    found = {}
    for attack in order["attacks"]:
        left = [e for e in attack["epsilons"] if f"{attack['id']}@{e}" not in recorded]
        if left:
            found[attack["id"]] = left
    return found


def missing_stages(cell: CellFiles, order: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Stages of a work order that are not recorded yet."""
    # a submission of an older version has no such key
    return [s for s in order.get("stages", []) if not cell.stage(s["id"]).exists()]
