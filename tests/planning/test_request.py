"""Job requests are data: what will be sent can be read before it is."""

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from jobs import identity
from jobs.expand.blocks import Resources
from jobs.planning.request import (
    Rendezvous,
    files_read,
    longest_hours,
    requests,
    sbatch_parameters,
    tasks,
    torchrun,
    work_order,
)
from tests.examples import cell

ONE = cell()


def test_a_work_order_holds_only_missing_rows() -> None:
    order = work_order(ONE, ONE.rows[2:])
    assert [(a["attack"]["name"], a["epsilons"]) for a in order["attacks"]] == [("fgsm", ["8/255"])]


def test_own_files_are_named_from_the_root_of_the_filesystem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    sha256 = "ab" * 32
    started = replace(ONE.training, start=f"sha256:{sha256}")
    one = replace(ONE, training=started, files=((sha256, "w.safetensors"),))
    order = work_order(one, one.rows)
    assert order["files"] == {sha256: str(tmp_path / "w.safetensors")}
    assert order["spec"] == identity.plain(started)
    assert files_read(one, one.rows, trains=True) == ["w.safetensors"]
    assert files_read(one, one.rows, trains=False) == []


def test_shared_parts_of_work_orders_are_exact() -> None:
    first, second = cell(0), cell(1, parent=cell(0))
    for one in (first, second, replace(first, training=replace(first.training, seed=7))):
        order = work_order(one, one.rows)
        assert order["spec"] == identity.plain(one.training)
        assert [a["attack"] for a in order["attacks"]] == [
            identity.plain(attack) for attack in one.attack_ids.values()
        ]


@pytest.mark.parametrize(("per_job", "sizes"), [(1, [1] * 5), (2, [2, 2, 1]), (9, [5])])
def test_cells_are_packed(per_job: int, sizes: list[int]) -> None:
    shape = Resources(cells_per_job=per_job)
    made = tasks([(cell(seed, resources=shape), {"n": seed}) for seed in range(5)])
    assert [len(task.cells) for task in made] == sizes
    assert [task.index for task in made] == list(range(len(sizes)))


def test_shapes_never_share_an_array() -> None:
    small, big = Resources(), Resources(nodes=2)
    work = [(cell(seed, resources=big if seed % 2 else small), {"n": seed}) for seed in range(6)]
    made = requests(tasks(work), name="x", max_array=1000, profile={})
    assert [(r.name, r.resources.nodes, len(r.tasks)) for r in made] == [
        ("x-000", 1, 3),
        ("x-001", 2, 3),
    ]


@pytest.mark.parametrize(("limit", "sizes"), [(1000, [7]), (3, [3, 3, 1]), (1, [1] * 7)])
def test_arrays_keep_the_sites_limit(limit: int, sizes: list[int]) -> None:
    made = tasks([(cell(seed), {}) for seed in range(7)])
    found = requests(made, name="x", max_array=limit, profile={})
    assert [len(request.tasks) for request in found] == sizes


def test_a_canary_is_an_array_by_itself_before_all_others() -> None:
    small, big = Resources(), Resources(nodes=2)
    made = tasks([(cell(seed, resources=big if seed > 3 else small), {}) for seed in range(6)])
    made += tasks([(cell(9), {})], first=6, generation=1)
    found = requests(made, name="x", max_array=2, profile={}, canary=True)
    assert [request.tasks for request in found] == [(0,), (1, 2), (3,), (4, 5), (6,)]
    assert [request.after for request in found] == [(), (0,), (0,), (0,), (0, 1, 2, 3)]


def test_sbatch_parameters() -> None:
    shape = Resources(nodes=2, gpus_per_node=4, cpus_per_gpu=3, mem_gb=Decimal("1.5"))
    found = sbatch_parameters(shape, {"partition": "gpu"})
    wanted = {"nodes": 2, "gpus_per_node": 4, "cpus_per_task": 12, "mem_gb": 1.5}
    assert wanted.items() <= found.items()
    assert (found["tasks_per_node"], found["partition"]) == (1, "gpu")


def test_a_cpu_job_asks_for_no_gpu() -> None:
    assert "gpus_per_node" not in sbatch_parameters(Resources(), {})


def test_torchrun_hands_signals_on_and_never_restarts() -> None:
    shape = Resources(nodes=2, processes_per_node=2)
    words = torchrun(shape, Rendezvous(endpoint="n1:29", job="7-0"), python="py")
    assert {"--nnodes=2", "--nproc-per-node=2", "--rdzv-endpoint=n1:29"} <= set(words)
    assert "--max-restarts=0" in words
    assert any("SIGUSR2" in word for word in words)


def test_longest_hours_counts_gpus_then_cores() -> None:
    assert longest_hours(Resources(nodes=2, gpus_per_node=4, timeout_min=30)) == 4.0
    assert longest_hours(Resources(cpus_per_gpu=2, timeout_min=60)) == 2.0
