"""From the files of one or several run roots to one counted row for each key.

Of several roots that trained one network, the one named first counts; of equal rows of one
checkpoint, the record with the lowest file name. Every disagreement becomes a warning.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from analysis.collecting import audits, facts, gradients, listing
from analysis.collecting.fitting import fits
from analysis.collecting.listing import Holders
from analysis.collecting.sources import FOREIGN, Found, Outcome, Source, read_cell
from analysis.collecting.specifications import Families
from jobs.layout import RunRoot
from jobs.schema import ATTEMPTS, CURVES, RESULTS, TRAININGS, Table

Progress = Callable[[str, int, int], None]
"""Called with (what is done, steps done, steps in all)."""


@dataclass
class Gathered:
    """Everything that goes into the tables, each fact once.

    Attributes:
        trainings: one dict for each finished training, by id.
        attacks: one dict for each attack on the networks of one setting, by what tells them apart.
        sources: one dict for each record that gave a row.
        attack_of: position in `attacks` of each of `sources`.
        rows: counted rows, by training, attack and epsilon.
        training_of: position in `trainings` of each row.
        source_of: position in `sources` of each row.
        attempts: one dict for each attempt.
        gradients: columns of the rows of each record of gradients.
        audits: columns of the rows of each record of an audit.
        families: what the specifications say of the trainings' settings.
        marks: what each training was made of (`analysis.collecting.listing`); empty where there are
            warnings about it.
    """

    trainings: list[dict[str, Any]] = field(default_factory=list)
    attacks: dict[tuple[str, ...], tuple[int, dict[str, Any]]] = field(default_factory=dict)
    sources: list[dict[str, Any]] = field(default_factory=list)
    attack_of: list[int] = field(default_factory=list)
    rows: list[Outcome] = field(default_factory=list)
    training_of: list[int] = field(default_factory=list)
    source_of: list[int] = field(default_factory=list)
    attempts: list[dict[str, Any]] = field(default_factory=list)
    gradients: list[dict[str, list[Any]]] = field(default_factory=list)
    audits: list[dict[str, list[Any]]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    families: Families = field(default_factory=Families)
    marks: dict[str, str] = field(default_factory=dict)


def gather(roots: Sequence[RunRoot], progress: Progress) -> Gathered:
    """Read run roots, one training after the other.

    Raises:
        EnvironmentFault: if a file is there but cannot be read.
    """
    warnings: list[str] = []
    gathered = read([*listing.holders(roots, warnings).items()], progress)
    gathered.warnings[:0] = warnings
    for training in gathered.trainings:
        training["configuration"] = gathered.families.configuration(training["training_id"])
    return gathered


def read(some: Sequence[Holders], progress: Progress) -> Gathered:
    """Read some trainings, in their order; `configuration` is left for who knows their parents.

    Raises:
        EnvironmentFault: if a file is there but cannot be read.
    """
    gathered = Gathered()
    for number, (training_id, holders) in enumerate(some):
        progress("reading", number, len(some))
        told = len(gathered.warnings)
        found = [read_cell(holder.cells, training_id, holder.dead) for holder in holders]
        spec = next((item.spec for item in found if item.spec is not None), None)
        if spec is not None:
            gathered.families.own[training_id] = spec.bare, spec.origins
        _add(gathered, found)
        doubtful = len(gathered.warnings) > told
        made_of = [*zip(holders, [item.held for item in found], strict=True)]
        gathered.marks[training_id] = "" if doubtful else listing.mark(training_id, made_of)
    return gathered


def _add(gathered: Gathered, found: Sequence[Found]) -> None:
    """Decide what of one training counts, and add it."""
    warnings = gathered.warnings
    for item in found:
        warnings += item.warnings
        for attempt in item.attempts:
            attempt["faithful"] = facts.faithful(item.spec)
            where = f"{item.root}: attempt {attempt['number']} of {item.training_id}"
            if _told_fits(ATTEMPTS, attempt, where, warnings):
                gathered.attempts.append(attempt)
    holder = next((f for f in found if f.training is not None and f.spec is not None), None)
    training = None if holder is None else _training(holder, warnings)
    if holder is None or holder.spec is None or training is None:
        for item in (item for item in found if item.outcomes):
            warnings.append(
                f"{item.root}: {item.training_id} has records but no readable training.json and "
                "spec.json to judge them by; its rows are left out; resume it or restore the files"
            )
        return
    gathered.trainings.append(training)
    gathered.gradients += gradients.blocks(found, training, warnings)
    gathered.audits += audits.blocks(found, training, warnings)
    used: dict[Source, int | None] = {}
    for outcome in _chosen(found, training, warnings):
        if outcome.source not in used:
            used[outcome.source] = _add_source(gathered, outcome.source, holder.spec.bare)
        if (position := used[outcome.source]) is not None:
            gathered.rows.append(outcome)
            gathered.training_of.append(len(gathered.trainings) - 1)
            gathered.source_of.append(position)


def _add_source(gathered: Gathered, source: Source, bare: str) -> int | None:
    """Position of a record in `sources`; None if it does not fit, with a warning."""
    try:
        key = (bare, repr(source.attack), repr(source.evaluation))
        known = gathered.attacks.get(key)
        shared = known[1] if known else facts.of_attack(source.attack, source.evaluation, bare)
        own = facts.of_record(source)
    except FOREIGN as error:
        gathered.warnings.append(f"{source.path}: not a record ({error!r}); skipped")
        return None
    if not (fits(RESULTS, own) and (known or fits(RESULTS, shared))):
        misfits = RESULTS.misfits({**shared, **own})
        gathered.warnings.append(f"{source.path}: {'; '.join(misfits)}; skipped")
        return None
    place, _ = gathered.attacks.setdefault(key, (len(gathered.attacks), shared))
    if not known and (climb := facts.climb(source.attack, source.evaluation)):
        gathered.families.climbs[source.attack_id] = climb
    gathered.sources.append(own)
    gathered.attack_of.append(place)
    return len(gathered.sources) - 1


def _chosen(found: Sequence[Found], training: dict[str, Any], warnings: list[str]) -> list[Outcome]:
    """The rows that count, by attack and epsilon."""
    model = training["model_sha256"]
    candidates: list[Outcome] = []
    for item in found:
        own = item.training["model_sha256"] if item.training else model
        if own != model:
            warnings.append(
                f"{item.root}: {item.training_id} was trained here to other weights than in "
                f"{training['root']}, which counts; its rows here are left out"
            )
            continue
        strange = {o.source.path for o in item.outcomes if o.source.model_sha256 != model}
        warnings += [
            f"{path}: was measured on other weights than training.json names; rows left out"
            for path in sorted(strange)
        ]
        candidates += [o for o in item.outcomes if o.source.path not in strange]
    return _first_of_equal(sorted(candidates, key=lambda o: o.source.name), warnings)


def _first_of_equal(candidates: Sequence[Outcome], warnings: list[str]) -> list[Outcome]:
    first: dict[tuple[str, tuple[int, int]], Outcome] = {}
    conflicts: dict[tuple[Source, Source], list[str]] = defaultdict(list)
    for outcome in candidates:
        kept = first.setdefault((outcome.attack_id, outcome.epsilon), outcome)
        if kept is not outcome and kept.differs(outcome):
            radius = "{}/{}".format(*outcome.epsilon)
            counts = f"{kept.correct} against {outcome.correct} of {outcome.total} correct"
            conflicts[kept.source, outcome.source].append(f"{radius} ({counts})")
    for (one, other), rows in conflicts.items():
        warnings.append(
            f"{one.path} and {other.path} disagree at epsilon {', '.join(rows)}; "
            "the first counts; move the other away if you know which is wrong"
        )
    return sorted(first.values(), key=lambda o: (o.attack_id, o.epsilon[0] / o.epsilon[1]))


def _told_fits(
    table: Table, row: dict[str, Any], where: str, warnings: list[str], so: str = "skipped"
) -> bool:
    """Whether a row can stand in a table; a warning says what of it cannot."""
    if fits(table, row):
        return True
    warnings.append(f"{where}: {'; '.join(table.misfits(row))}; {so}")
    return False


def _training(found: Found, warnings: list[str]) -> dict[str, Any] | None:
    assert found.spec is not None
    assert found.training is not None
    try:
        setting = facts.setting(found.spec)
        machine = facts.machine(found.training["measured"])
    except FOREIGN as error:
        where = f"{found.root}: spec.json or training.json of {found.training_id}"
        warnings.append(f"{where} has another shape ({error!r}); skipped")
        return None
    training = found.training
    optional = ("best_epoch", "validation_correct", "validation_total")
    row = {
        "training_id": found.training_id,
        "configuration": found.training_id,
        **setting,
        "spec": found.spec.text,
        **{key: found.spec.value.get(key) for key in ("start", "nds")},
        **{key: training[key] for key in ("label", "model_sha256", "checkpoint")},
        **{key: training[key] for key in ("epochs", "steps")},
        **{key: training.get(key) for key in optional},
        **machine,
        "codes": training["measured"].get("codes", []),
        "root": found.root,
    }
    where = f"{found.root}: training.json of {found.training_id}"
    if not _told_fits(TRAININGS, row, where, warnings):
        return None
    return {**row, **_curves(training, where, warnings)}


def _curves(training: dict[str, Any], where: str, warnings: list[str]) -> dict[str, Any]:
    """What each epoch was like; nothing, with a warning, of a history of another shape."""
    none = dict.fromkeys([column.name for column in CURVES])
    try:
        found = facts.curves(training)
    except FOREIGN as error:
        warnings.append(f"{where}: its history has another shape ({error!r}); left out")
        return none
    return (
        found if _told_fits(TRAININGS, found, where, warnings, "its history is left out") else none
    )
