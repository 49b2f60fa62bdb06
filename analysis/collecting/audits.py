"""From records of audits to rows of the table `audits`, and the words that `collect` prints."""

from collections.abc import Iterable, Sequence
from fractions import Fraction

import pandas as pd

from analysis.collecting import facts, stage_rows
from analysis.collecting.sources import Found
from analysis.collecting.stage_rows import Block, Record, whole
from analysis.naming import each
from jobs.schema import AUDITS
from snnlib.spec.audit import LIMITS, VERDICTS, Verdict

_COUNTS = ("judged", "other", "found", "missed")


def blocks(found: Sequence[Found], training: Record, warnings: list[str]) -> list[Block]:
    """The rows of one training, a block for each audit, by stage id.

    Args:
        found: the training in each run root, the one that counts most first.
        training: its row of `trainings`.
        warnings: takes what was left out, and why.
    """
    return stage_rows.blocks(found, training, warnings, kind="audit", block=_block)


def _block(record: Record, training: Record, root: str) -> Block:
    stage = record["stage"]
    shared = {
        "training_id": training["training_id"],
        "stage_id": record["stage_id"],
        "faithful": training["faithful"],
        "verdict": _verdict(record["verdict"]),
        "total": whole(record["count"]),
        **{key: stage[key] for key in ("split", "loss", "gradient", "space")},
        "surrogate": facts.surrogate(stage["surrogate"]),
        **{key: record[key] for key in ("model_sha256", "samples_sha256")},
        **facts.machine(record["measured"]),
        "root": root,
    }
    worst = _worst(item["verdict"] for item in record["items"])
    if record["verdict"] != worst:
        raise ValueError(f"verdict {record['verdict']}, but that of its items is {worst}")
    rows = [{**shared, **_item(item)} for item in sorted(record["items"], key=lambda i: i["item"])]
    for row in rows:
        if misfits := AUDITS.misfits(row):
            raise ValueError("; ".join(misfits))
    return {column.name: [row[column.name] for row in rows] for column in AUDITS.columns}


def _item(item: Record) -> Record:
    pair = item["pair"]
    counts: Record = dict.fromkeys(("epsilon", *_COUNTS))
    if pair is not None:
        counts = {name: whole(pair[name]) for name in _COUNTS}
        counts["epsilon"] = float(Fraction(pair["epsilon"]))
    return {
        "item": item["item"],
        "item_verdict": _verdict(item["verdict"]),
        "passed": item["verdict"] == "pass",
        "value": item["value"],
        "threshold": item["limit"]["suspicious"],
        "fail_threshold": item["limit"]["fail"],
        "text": item["text"],
        **counts,
    }


def in_words(audits: pd.DataFrame, results: pd.DataFrame) -> dict[tuple[str, str], str]:
    """The worst verdict on each configuration in each space, with its first failing item.

    Args:
        audits: from `analysis.load("audits")`.
        results: from `analysis.load("results")`, which tells configurations.
    """
    families = results[["training_id", "configuration"]].drop_duplicates()
    known = audits.merge(families, on="training_id")
    seeds = families.groupby("configuration", observed=True)["training_id"].nunique().to_dict()
    return {
        (str(configuration), str(space)): _words(rows, seeds[configuration])
        for (configuration, space), rows in known.groupby(["configuration", "space"], observed=True)
    }


def judged(rows: pd.DataFrame, seeds: int) -> str:
    """Whom the audits of a configuration in one space judged, as far as that does not go without saying.

    Args:
        rows: of `audits`.
        seeds: how many networks of the configuration there are.
    """
    rules = sorted(set(rows["gradient"]))
    there = rows["training_id"].nunique()
    words = [f"under {', '.join(rules)}"] if "own" not in rules else []
    words += [f"{there} of {seeds} seeds"] if there < seeds else []
    return ", ".join(words)


def _words(rows: pd.DataFrame, total: int) -> str:
    worst = _worst(rows["verdict"])
    if worst == VERDICTS[0]:
        return f"{worst} {judged(rows, total)}".rstrip()
    order: dict[str, int] = {item: place for place, item in enumerate(LIMITS)}
    failing = rows[(rows["verdict"] == worst) & (rows["item_verdict"] == worst)]
    first = min(each(failing), key=lambda row: order.get(row.item, len(order)))
    under = "" if first.gradient == "own" else f" under {first.gradient}"
    seeds, found = rows["training_id"].nunique(), failing["training_id"].nunique()
    of = f" ({found} of {seeds} seeds)" if seeds > 1 else ""
    return " ".join(f"{worst}{under}: {first.text}{of}".split())


def _worst(verdicts: Iterable[object]) -> str:
    """The worst of some verdicts; without any, the best."""
    return max(map(_verdict, verdicts), key=VERDICTS.index, default=VERDICTS[0])


def _verdict(value: object) -> Verdict:
    for verdict in VERDICTS:
        if value == verdict:
            return verdict
    raise ValueError(f"{value!r} is no verdict (there is {', '.join(VERDICTS)})")
