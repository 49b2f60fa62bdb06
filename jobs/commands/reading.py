"""status, logs, show, explain, collect, schema, doctor: the commands that only look."""

import json
import os
import time
from argparse import Namespace
from fractions import Fraction
from pathlib import Path
from typing import Any

from jobs import attempts, files, identity, processes, records
from jobs.attempts import Attempt
from jobs.commands import context, standing
from jobs.commands.context import STATUS_AGE_S, command
from jobs.console import Console
from jobs.dispatch import ledger, unclaimed
from jobs.errors import UsageError
from jobs.expand.cell import Cell
from jobs.planning import finding, row_story, stage_story, views
from jobs.planning.finding import Place
from jobs.planning.status_text import one_line
from jobs.upkeep import tombstones
from jobs.upkeep.tombstones import Grave

FOLLOW_S = 0.3


def status(args: Namespace, console: Console) -> int:
    """Say how a manifest's cells stand, or those of all that was submitted."""
    where = context.place(args)
    code, documents = 0, []
    for manifest in context.manifests(where, args.manifest, only=args.only, note=console.note):
        view = context.view(where, manifest, args, max_age=STATUS_AGE_S)
        if where.root.path.exists():
            view.save()
        code = max(code, standing.exit_code(view) if args.exit_code else 0)
        if args.json:
            documents.append(standing.document(view))
            continue
        console.data(f"{manifest.name} · {where.root.path}")
        follow = standing.next_command(where, view, args.manifest)
        if args.by:
            console.data([*standing.grouped(where, view, args.by), f"next: {follow}"])
        else:
            console.data(standing.lines(where, view, follow, console.width))
    if args.json:
        console.json({"manifests": documents})
    return code


def logs(args: Namespace, console: Console) -> int:
    """Print the log of a cell's last attempt."""
    where = context.place(args)
    _, cell = context.cell(where, args.cell, args.manifest)
    paths = where.root.cell(cell.training_id)
    tried = [attempts.read(paths, number) for number in attempts.numbers(paths)]
    claimed = [one for one in tried if one.claimed]
    if not claimed and _unclaimed_log(where, cell, console):
        return 0
    chosen = _attempt(claimed, args, cell)
    log = paths.attempt(chosen.number).log(args.rank)
    if not log.exists():
        _explain_absent_log(where, chosen, args.rank, log, console)
    console.note(f"{cell.label} attempt {chosen.number} rank {args.rank}: {log}")
    _print_log(log, chosen, console, follow=args.follow, ended=paths.attempt(chosen.number).end)
    return 0


def _unclaimed_log(where: Place, cell: Cell, console: Console) -> bool:
    """Print what is kept of the last job that ended before it claimed a cell, if there is one."""
    found = unclaimed.of_training(where.root, cell.training_id, ledger.numbers(where.root))
    for death in found[-1:]:
        console.note(one_line(f"{cell.label} job {death.job_id}: {death.reason}"))
        console.data(death.tail)
    return bool(found)


def _explain_absent_log(
    where: Place, chosen: Attempt, rank: int, log: Path, console: Console
) -> None:
    ranks = sorted(path.stem.removeprefix("rank") for path in log.parent.glob("rank*.log"))
    if ranks:
        raise UsageError(f"attempt {chosen.number} has no rank {rank}; it has {', '.join(ranks)}")
    before = where.root.submission(chosen.submission).submitit
    console.note(f"no rank of it has written yet; what came before lies under {before}")
    console.note(one_line(chosen.reason))


def _attempt(tried: list[Attempt], args: Namespace, cell: Cell) -> Attempt:
    if args.failed:
        tried = [a for a in tried if a.state not in {None, "completed"}]
    if args.attempt is not None:
        tried = [a for a in tried if a.number == args.attempt]
    if not tried:
        kind = "failed " if args.failed else ""
        raise UsageError(f"{cell.label}: has no such {kind}attempt; see `show {args.cell}`")
    return tried[-1]


def _print_log(log: Path, chosen: Attempt, console: Console, *, follow: bool, ended: Path) -> None:
    """Print a log; with `follow`, go on until its attempt has ended or was killed."""
    position = 0
    while True:
        killed = chosen.process is not None and processes.alive(chosen.process) is False
        over = ended.exists() or killed or not follow
        if log.exists():
            with log.open("rb") as file:
                file.seek(position)
                text = file.read()
            whole = text if over else text[: text.rfind(b"\n") + 1]
            position += len(whole)
            if whole:
                console.data(whole.decode(errors="replace").rstrip("\n").split("\n"))
        if over:
            return
        time.sleep(FOLLOW_S)


def show(args: Namespace, console: Console) -> int:
    """Tell a cell's whole story."""
    where = context.place(args)
    _, cell = context.cell(where, args.cell, args.manifest)
    story = _story(where, cell)
    if args.json:
        console.json(story)
    else:
        console.data(_story_lines(_one_lined(story)))
    return 0


def _one_lined(value: Any) -> Any:
    """A story without line breaks in what others wrote: they would pass for lines of ours."""
    match value:
        case str():
            return one_line(value)
        case dict():
            return {key: _one_lined(item) for key, item in value.items()}
        case list():
            return [_one_lined(item) for item in value]
        case _:
            return value


def _story(where: Place, cell: Cell) -> dict[str, Any]:
    from jobs.expand import systems  # these two are a part of the story alone
    from jobs.running import partial

    paths = where.root.cell(cell.training_id)
    tried = [attempts.read(paths, number) for number in attempts.numbers(paths)]
    found = list(records.valid(paths))
    training = files.read_json(paths.training) if paths.training.exists() else None
    spec = identity.plain(cell.training)
    grave = tombstones.graves(where.root).get(cell.training_id, Grave())
    return {
        "training_id": cell.training_id,
        "label": cell.label,
        "folder": str(paths.folder),
        "faithful": systems.of_training(spec),
        "spec": spec,
        "training": training and {k: v for k, v in training.items() if k != "history"},
        "attempts": [
            {
                **{k: v for k, v in vars(a).items() if k != "process"},
                "progress": partial.progress(files.read_lines(paths.attempt(a.number).events)),
            }
            for a in tried
            if a.claimed or a.number > grave.fence
        ],
        "invalidated": [
            {**tombstones.story(where.root, stone), "kept": str(paths.invalidated / stone.place)}
            for stone in grave.stones
        ],
        "rows": [
            {
                "attack": record.attack["name"],
                "attack_id": record.attack_id,
                "faithful": systems.of_result(spec, record.attack),
                **_how(record.attack),
                "epsilon": str(row.epsilon),
                "correct": row.correct,
                "total": row.total,
                "zero_gradient": row.zero_gradient,
                **row_story.told(paths, path, record, row),
                "promise": record.measured.get("promise"),
                "record": path.name,
                "counts": training is None or record.model_sha256 == training["model_sha256"],
            }
            for path, record in found
            for row in record.rows
        ],
        "stages": stage_story.told(paths),
    }


def _how(attack: dict[str, Any]) -> dict[str, Any]:
    """Space, gradient and surrogate of an attack; of a transfer those on its source, and which that is."""
    climb = attack["attack"] if attack["name"] == "transfer" else attack
    found = {key: climb.get(key) for key in ("space", "gradient")}
    found["surrogate"] = views.flat(climb.get("surrogate"))
    if not attack.get("source"):
        return found
    return {**found, "source": attack["source"], "climb": climb["name"]}


def _story_lines(story: dict[str, Any]) -> list[str]:
    lines = [f"{story['training_id']} {story['label']}", f"  folder    {story['folder']}"]
    if story["faithful"]:
        lines.append(f"  faithful  {story['faithful']}, its faults included")
    for key, value in story["spec"].items():
        lines.append(f"  {key:<9} {views.flat(value)}")
    training = story["training"]
    if training:
        lines.append(
            f"trained   {training['steps']:,} steps, {_kept(training, story['spec'])} · "
            f"weights sha256 {training['model_sha256'][:16]} · {training['measured']['promise']}"
        )
    else:
        lines.append("not trained")
    for tried in story["attempts"]:
        state = tried["state"] or "no word of its end"
        reason = f" · {tried['reason']}" if tried["reason"] else ""
        reason += f" · {tried['progress']}" if tried["progress"] else ""
        job = f" job {tried['job_id']}" if tried["job_id"] else ""
        lines.append(
            f"attempt {tried['number']}: {state}{reason} · {tried['seconds']:.0f} s on "
            f"{tried['host']}{job} · submission {tried['submission']}"
        )
    lines += map(_invalidated, story["invalidated"])
    rows = sorted(story["rows"], key=_order)
    wide = max((len(row["attack"]) for row in rows), default=0)
    for row in rows:
        other = "" if row["counts"] else "  of other weights, which count no more"
        lines.append(f"  {views.row_text(row, wide)}{row_story.text(row)}{other}")
    if rows:
        lines.append("  [95 % Wilson interval over samples]")
    lines += row_story.examples(rows)
    lines += map(stage_story.text, story["stages"])
    follow = ("logs", story["training_id"][:8]) if story["attempts"] else ("status",)
    return [*lines, f"next: {command(*follow)}"]


def _invalidated(told: dict[str, Any]) -> str:
    what = told.get("attack") or "all before"
    at = time.strftime("%Y-%m-%d %H:%M", time.localtime(told.get("at", 0.0)))
    rows = views.count(told.get("rows", 0), "row")
    by, why = told.get("by", "?"), told.get("reason", "")
    return f"invalidated {at} by {by}: {what} ({rows}) · {why} · kept in {told['kept']}"


def _order(row: dict[str, Any]) -> tuple[bool, str, str, Fraction]:
    return row["attack"] != "clean", row["attack"], row["attack_id"], Fraction(row["epsilon"])


def _kept(training: dict[str, Any], spec: dict[str, Any]) -> str:
    """Which epoch's network was kept, and what chose it."""
    select, total = spec["regime"]["select"], training["validation_total"]
    if not total:
        return f"last epoch {training['best_epoch']}"
    kept = f"{'last' if select == 'last' else 'best'} epoch {training['best_epoch']}"
    judges = "test images" if select == "best_test" else "validation"
    return f"{kept} with {training['validation_correct']}/{total} on {judges}"


def explain(args: Namespace, console: Console) -> int:
    """Print the keys that make two cells differ."""
    where = context.place(args)
    a, b = (context.cell(where, name, args.manifest)[1] for name in (args.a, args.b))
    found = identity.differences(a.training, b.training)
    own = [
        (key, x, y)
        for key in ("attacks", "epsilons", "evaluation", "stages")
        for key, x, y in identity.differences(
            {key: identity.plain(getattr(a, key))}, {key: identity.plain(getattr(b, key))}
        )
    ]
    lines = [f"{cell.training_id} {cell.label}{_repeats(cell)}" for cell in (a, b)]
    lines += [f"  {key}: {views.flat(x)} → {views.flat(y)}" for key, x, y in found]
    if not found:
        lines.append("  the same training: they share a checkpoint")
    lines += [
        f"  {key}: {views.flat(x)} → {views.flat(y)} (not part of the training)"
        for key, x, y in own
    ]
    console.data(lines)
    return 0


def _repeats(cell: Cell) -> str:
    from jobs.expand import systems

    system = systems.of_training(identity.plain(cell.training))
    return f" · faithful {system}" if system else ""


def schema(args: Namespace, console: Console) -> int:
    """Print the JSON Schema of manifests."""
    from jobs.expand import manifest

    del args
    console.data(json.dumps(manifest.schema(), indent=1))
    return 0


def doctor(args: Namespace, console: Console) -> int:
    """Check what spikegrid needs of this machine, cluster and filesystem."""
    from jobs.planning import needs
    from jobs.upkeep import doctor as checks

    where = finding.place(args.root, args.data, checks.site_or_empty(os.environ), os.environ)
    console.progress("asking Python, torch, SLURM and the filesystem …")
    need = None
    if args.manifest:
        args.only = None
        manifest = finding.manifest(args.manifest, where.root)
        view = context.view(where, manifest, args, max_age=None)
        need = needs.of(where.root, manifest.name, view.items)
    found = checks.examine(where.root.path, Path(where.data), env=os.environ, need=need)
    marks = {"ok": "ok  ", "warn": "warn", "fail": "FAIL"}
    for one in found:
        console.data(f"{marks[one.status]}  {one.name:<16} {one.found}")
        if one.way_out:
            console.data(f"      {'':<16} → {one.way_out}")
    failed = any(one.status == "fail" for one in found)
    follow = command("doctor") if failed else command("plan", "quickstart")
    console.data(f"next: {follow}")
    return 3 if failed else 0
