"""Which records of a kind of stage give rows, and which of equal ones count.

The first run root counts, as for results; every disagreement becomes a warning.
"""

from collections.abc import Callable, Sequence
from typing import Any

from analysis.collecting.sources import FOREIGN, Found

Record = dict[str, Any]
Block = dict[str, list[Any]]
"""Column → values, of equal length."""


def blocks(
    found: Sequence[Found],
    training: Record,
    warnings: list[str],
    *,
    kind: str,
    block: Callable[[Record, Record, str], Block],
) -> list[Block]:
    """The rows of one training, a block for each stage of a kind, by stage id.

    Args:
        found: the training in each run root, the one that counts most first.
        training: its row of `trainings`.
        warnings: takes what was left out, and why.
        kind: of the stages.
        block: from a record, the training and the run root to rows; what it raises over JSON of an
            unexpected shape becomes a warning.
    """
    first: dict[str, tuple[str, Record, Block]] = {}
    for item in found:
        if item.training and item.training["model_sha256"] != training["model_sha256"]:
            continue  # said already
        for path, record in item.stages:
            if _kind(path, record, warnings) != kind:
                continue
            if record.get("model_sha256") != training["model_sha256"]:
                warnings.append(
                    f"{path}: was measured on other weights than training.json names; rows left out"
                )
                continue
            try:
                made = block(record, training, item.root)
            except FOREIGN as error:
                warnings.append(f"{path}: not a record of {kind} ({error!r}); skipped")
                continue
            kept = first.setdefault(path.rpartition("/")[2], (path, record, made))
            if kept[1] is not record and _result(kept[1]) != _result(record):
                warnings.append(
                    f"{kept[0]} and {path} disagree; "
                    "the first counts; move the other away if you know which is wrong"
                )
    return [made for _, (_, _, made) in sorted(first.items())]


def whole(value: object) -> int:
    """A count of a record.

    Raises:
        ValueError: it is none.
    """
    if type(value) is not int or not 0 <= value < 2**63:
        raise ValueError(f"expected a whole number, found {value!r}")
    return value


def _kind(path: str, record: Record, warnings: list[str]) -> object:
    """Of which kind of stage a record is; None, with one warning, if it does not say."""
    stage = record.get("stage")
    if isinstance(stage, dict) and "kind" in stage:
        return stage["kind"]
    warning = f"{path}: does not say of which stage it is; skipped"
    if warning not in warnings:
        warnings.append(warning)
    return None


def _result(record: Record) -> Record:
    return {key: value for key, value in record.items() if key != "measured"}
