"""How samples fell in the rows of a trained network, and where examples of it lie: for `show`."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from jobs.layout import CellFiles
from jobs.records import Record, Row


def told(cell: CellFiles, path: Path, record: Record, row: Row) -> dict[str, Any]:
    """What a row says besides its counts.

    Args:
        cell: files of the training.
        path: of the record.
        record: what stands there.
        row: one of its rows.
    """
    examples = cell.examples(path.name)
    figures = {} if row.breaks is None else row.breaks.figures(record.members)
    # a transfer attack perturbs as the attack that climbs for it
    norm = record.attack.get("attack", record.attack).get("norm")
    return {**figures, "norm": norm, "examples": str(examples) if examples.exists() else None}


def text(row: Mapping[str, Any]) -> str:
    """How its samples fell, to stand behind a row; nothing if none did or nobody said."""
    if row.get("median_step") is None:
        return ""
    usual, most = f"{row['median_step']:g}", row["max_step"]
    steps = f"{usual} step{'s' * (usual != '1')}" + (
        f" (most {most:,})" if most > float(usual) else ""
    )
    by = (
        f" · by {row['broken_by'].replace(',', ', ').replace(':', ' ')}" if row["broken_by"] else ""
    )
    return f"  broken after {steps}, linf {row['mean_linf']:.3g}, l2 {row['mean_l2']:.3g}{by}"


def examples(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """A line for each file of adversarial examples."""
    kept = {row["examples"]: row["attack"] for row in rows if row.get("examples")}
    return [f"examples of {attack}: {path}" for path, attack in kept.items()]
