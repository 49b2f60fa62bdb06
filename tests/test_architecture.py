"""Who may import whom, read from the source; and what starting the command line loads."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent
WORKER_SIDE = {"jobs.worker", "jobs.checkpoint"} | {
    f"jobs.running.{name}"
    for name in (
        "rank",
        "agreement",
        "attack_share",
        "outcomes",
        "examples",
        "cell_run",
        "train_cell",
        "evaluate_cell",
        "stage_cell",
        "signature_stage",
        "transfer_source",
        "gradients_stage",
        "audit_stage",
        "sinks",
        "wandb_run",
        "convert",
        "fetch",
    )
}
TORCH_FREE = ("snnlib.spec", "snnlib.errors")
ALONE = {
    "submitit": "jobs.dispatch.submit",
    "tensorboard": "jobs.running.sinks",
    "wandb": "jobs.running.wandb_run",
    "rich": "jobs.commands.watching",
}
"""Packages that one module of jobs alone talks to."""
HEAVY = ("torch", "torchvision", "spikingjelly", "safetensors", "numpy")
TABLES = ("pandas", "pyarrow", "matplotlib", "numpy")
SHARED_WITH_ANALYSIS = {
    *(f"jobs.{n}" for n in ("schema", "layout", "records", "files", "errors", "forked")),
    "jobs.expand",
    "jobs.expand.systems",
}


def modules() -> Iterator[tuple[str, Path]]:
    for package in ("jobs", "snnlib", "analysis"):
        for path in sorted((CHECKOUT / package).rglob("*.py")):
            parts = path.relative_to(CHECKOUT).with_suffix("").parts
            yield ".".join(parts).removesuffix(".__init__"), path


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def allowed(module: str, imported: str) -> bool:
    top, package = imported.partition(".")[0], module.partition(".")[0]
    if module.startswith(TORCH_FREE):
        return top not in {"jobs", "analysis", *HEAVY, *TABLES, "submitit"} and (
            top != "snnlib" or imported.startswith(("snnlib.spec", "snnlib"))
        )
    match package:
        case "snnlib":
            return top not in {"jobs", "analysis", "submitit", "pandas", "pyarrow"}
        case "analysis" if top == "jobs":
            return (
                imported == "jobs"
                or imported in SHARED_WITH_ANALYSIS
                or imported.rpartition(".")[0] in SHARED_WITH_ANALYSIS
            )
        case "analysis":
            return top not in {"torch", "submitit"} and (
                top != "snnlib" or imported.startswith("snnlib.spec")
            )
        case _:
            return _allowed_in_jobs(module, imported, top)


def _allowed_in_jobs(module: str, imported: str, top: str) -> bool:
    if top in ALONE:
        return module == ALONE[top]
    if top == "analysis":
        return module.startswith("jobs.commands.")
    if top in HEAVY or (top == "snnlib" and not imported.startswith(TORCH_FREE)):
        return module in WORKER_SIDE
    if imported in WORKER_SIDE:
        return module in WORKER_SIDE
    return top not in TABLES


@pytest.mark.parametrize(("module", "path"), list(modules()), ids=lambda v: str(v)[-40:])
def test_imports_go_one_way(module: str, path: Path) -> None:
    wrong = [name for name in imports(path) if not allowed(module, name)]
    assert not wrong, f"{module} must not import {wrong}"


def test_the_command_line_starts_light() -> None:
    code = "import jobs.cli, sys; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True
    )
    loaded = set(done.stdout.split())
    assert "jobs.cli" in loaded
    assert not loaded & {"torch", "pandas", "pyarrow", "submitit", "pydantic", "numpy", "rich"}


def test_the_room_has_no_junk_drawer() -> None:
    names = {module.rpartition(".")[2] for module, _ in modules()}
    assert not names & {"utils", "helpers", "common", "base", "misc"}


def test_modules_stay_small() -> None:
    lines = {module: len(path.read_text().splitlines()) for module, path in modules()}
    assert not {module: n for module, n in lines.items() if n > 400}
