"""The doctor: every finding says what was found, and a bad one has a way out."""

import os
from pathlib import Path

import pytest

from jobs.dispatch.site import Site
from jobs.dispatch.slurm_text import Limits
from jobs.planning import needs, survey
from jobs.planning.index import Index
from jobs.planning.plan import plan
from jobs.upkeep import doctor, doctor_disk, doctor_slurm, garbage
from jobs.upkeep.diagnosis import Finding
from jobs.upkeep.doctor import examine, site_or_empty
from jobs.upkeep.doctor_disk import Need, Times
from snnlib.spec.data import FILES
from tests.examples import cell, finish, run_root
from tests.fake_slurm import FakeSlurm


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A probe that need not import torch."""
    told = '{"torch": "2.13", "cuda": null, "gpus": []}'
    monkeypatch.setattr(doctor, "_PROBE", f"print('{told}')")


def look(root: Path, **env: str) -> dict[str, Finding]:
    found = examine(root, root / "datasets", env={"PATH": "/nowhere", **env})
    return {finding.name: finding for finding in found}


@pytest.mark.usefixtures("quick")
def test_a_sound_machine(tmp_path: Path) -> None:
    found = look(tmp_path)
    assert {f.name for f in found.values() if f.status == "fail"} == set()
    assert "built for CPU" in found["torch"].found
    assert "jobs run on this machine" in found["slurm"].found
    assert "rename, link and exclusive create work" in found["run root"].found
    assert os.listdir(tmp_path) == []


@pytest.mark.slow
def test_the_real_probe_imports_torch_in_a_child(tmp_path: Path) -> None:
    found = {f.name: f for f in examine(tmp_path, tmp_path, env=dict(os.environ))}
    assert found["torch"].status == "ok"
    assert found["gpus"].found


@pytest.mark.usefixtures("quick")
def test_the_run_root_is_not_made(tmp_path: Path) -> None:
    found = look(tmp_path / "not" / "yet")
    assert f"tried {tmp_path}" in found["run root"].found
    assert os.listdir(tmp_path) == []


@pytest.mark.usefixtures("quick")
def test_every_bad_finding_has_a_way_out(tmp_path: Path) -> None:
    (tmp_path / "submissions/000001/submitit").mkdir(parents=True)
    (tmp_path / "submissions/000001/submitit").chmod(0o777)
    found = look(tmp_path, SPIKEGRID_SITE="/absent/site.yaml")
    bad = [finding for finding in found.values() if finding.status != "ok"]
    assert {finding.name for finding in bad} >= {"site.yaml", "submissions"}
    assert all(finding.way_out for finding in bad)
    assert "others can write 1 folders" in found["submissions"].found


@pytest.mark.usefixtures("quick")
def test_data_sets_that_are_there(tmp_path: Path) -> None:
    (tmp_path / "datasets").mkdir()
    for name in FILES["svhn"]:
        (tmp_path / "datasets" / name).touch()
    found = look(tmp_path)["data sets"].found
    assert f"{tmp_path}/datasets: digits, svhn; " in found
    assert found.endswith("brings mnist, fashion_mnist, cifar10, cifar100")


@pytest.mark.parametrize(
    ("probe", "words"),
    [
        ("raise RuntimeError('CUDA driver too old')", "CUDA driver too old"),
        ("import os; os._exit(9)", "exit 9"),
        ("import time; time.sleep(60)", "took more than"),
    ],
)
def test_a_broken_torch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, probe: str, words: str
) -> None:
    monkeypatch.setattr(doctor, "_PROBE", probe)
    monkeypatch.setattr(doctor, "PROBE_TIMEOUT_S", 0.5)
    found = look(tmp_path)["torch"]
    assert found.status == "fail"
    assert words in found.found


@pytest.mark.parametrize(
    ("names", "visible", "cuda", "words"),
    [
        (["A100", "A100", "T4"], None, True, "2 x A100, 1 x T4"),
        (["A100"], "1", True, "1 x A100 (CUDA_VISIBLE_DEVICES=1)"),
        ([], None, False, "none on this machine"),
    ],
)
def test_gpus(
    monkeypatch: pytest.MonkeyPatch, names: list[str], visible: str | None, cuda: bool, words: str
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert words in doctor._gpus(names, visible, cuda=cuda).found


def on(fake: FakeSlurm, root: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Finding]:
    monkeypatch.setenv("PATH", f"{fake.bin}:/usr/bin:/bin")
    return look(root, PATH=os.environ["PATH"])


@pytest.mark.usefixtures("quick")
def test_slurm_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeSlurm(tmp_path / "slurm", max_array_size=501)
    fake.add("cell", range(7))
    found = on(fake, tmp_path, monkeypatch)
    assert found["slurm"].found == "SLURM 22.05.8; you have 7 jobs queued or running"
    assert "501 jobs fit into one array" in found["slurm limits"].found
    assert "SLURM queues yours again" in found["slurm preemption"].found
    assert "sacct answers" in found["slurm accounting"].found


@pytest.mark.usefixtures("quick")
def test_slurm_without_accounting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = on(FakeSlurm(tmp_path / "slurm", accounting=False), tmp_path, monkeypatch)
    assert "known for 5 min after its end" in found["slurm accounting"].found


@pytest.mark.usefixtures("quick")
def test_slurm_that_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeSlurm(tmp_path / "slurm")
    fake.fault("squeue", "refuse", "refuse")
    found = on(fake, tmp_path, monkeypatch)
    assert found["slurm"].status == "fail"
    assert "Access/permission denied" in found["slurm"].found
    assert "slurm limits" not in found


@pytest.mark.usefixtures("quick")
def test_a_filesystem_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(source: Path, target: Path) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("os.link", refuse)
    found = look(tmp_path)["run root"]
    assert (found.status, "no hard links" in found.found) == ("fail", True)


@pytest.mark.usefixtures("quick")
def test_a_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryDirectory", refuse)
    found = look(tmp_path)["run root"]
    assert found.found.endswith("cannot be written (Permission denied)")
    assert "--root" in found.way_out


@pytest.mark.parametrize(
    ("sync", "listing", "status"), [(0.003, 0.0, "ok"), (0.3, 0.0, "warn"), (0.003, 2, "warn")]
)
def test_slow_filesystems(sync: float, listing: float, status: str) -> None:
    assert doctor_disk.speed(Times(sync=sync, listing=listing, ahead=0.0)).status == status


@pytest.mark.parametrize(
    ("ahead", "status", "words"),
    [
        (0.0, "ok", "within 1 s"),
        (-30.0, "ok", "within 30 s"),
        (3600.0, "warn", "3,600 s ahead of"),
        (-3600.0, "warn", "3,600 s behind"),
    ],
)
def test_clocks(ahead: float, status: str, words: str) -> None:
    found = doctor_disk.clock(Times(sync=0.0, listing=0.0, ahead=ahead))
    assert (found.status, words in found.found) == (status, True)


@pytest.mark.parametrize(
    ("size", "inodes", "need", "status"),
    [
        (10**10, 10**6, None, "ok"),
        (10**10, None, None, "ok"),
        (10**9, 10**6, None, "warn"),
        (10**10, 100, None, "warn"),
        (10**9, 1000, Need(name="m", size=10**8, inodes=900), "ok"),
        (10**9, 1000, Need(name="m", size=10**10, inodes=900), "fail"),
        (10**9, 1000, Need(name="m", size=None, inodes=2000), "fail"),
        (10**9, None, Need(name="m", size=None, inodes=2000), "ok"),
    ],
)
def test_room(size: int, inodes: int | None, need: Need | None, status: str) -> None:
    found = doctor_disk._space(size, inodes, need)
    assert found.status == status
    assert (
        need is None
        or f"m needs about {'' if need.size is None else need.size / 1e9}" in found.found
    )


def test_a_rename_that_replaces_folders_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.files.publish", lambda *_: True)
    assert doctor_disk._atomic(tmp_path) == "a renamed folder replaced one that was there"


def test_a_folder_that_does_not_tell_of_new_files_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor_disk, "_COARSE_S", 0.1)
    monkeypatch.setattr("jobs.files.changed_ns", lambda path: 7)
    found = doctor_disk._atomic(tmp_path)
    assert found == "a folder's time of change does not tell that a file came"


def test_coarse_time_stamps_are_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([7] * 5 + [9])
    monkeypatch.setattr("jobs.files.changed_ns", lambda path: next(times))
    assert not doctor_disk._atomic(tmp_path)


def test_another_process_makes_the_file_that_is_waited_for(tmp_path: Path) -> None:
    assert doctor_disk._listing(tmp_path) < doctor_disk._ANSWER_S
    assert os.listdir(tmp_path) == ["late"]


@pytest.mark.parametrize(
    ("text", "graces"),
    [
        ("", {}),
        ("PartitionName=main AllowGroups=ALL GraceTime=0 Hidden=NO", {}),
        ("PartitionName=a GraceTime=120 X=1\nPartitionName=b GraceTime=0", {"a": 120}),
    ],
)
def test_grace_of_partitions(text: str, graces: dict[str, int]) -> None:
    assert doctor_slurm._graces(text) == graces


@pytest.mark.parametrize(
    ("limits", "graces", "status", "words"),
    [
        (Limits(), {}, "ok", "not stopped for others"),
        (Limits(kill_wait_s=5), {}, "warn", "5 s to save"),
        (Limits(kill_wait_s=5), {"a": 60}, "ok", "a warning of 60 s in a"),
        (Limits(preempt_mode="CANCEL"), {}, "warn", "cancel yours"),
        (Limits(preempt_mode="GANG,REQUEUE"), {}, "ok", "queues yours again"),
        (Limits(preempt_mode="REQUEUE", kill_wait_s=2), {}, "warn", "2 s to save"),
    ],
)
def test_preemption(limits: Limits, graces: dict[str, int], status: str, words: str) -> None:
    found = doctor_slurm._preemption(limits, graces)
    assert (found.status, words in found.found) == (status, True)
    assert bool(found.way_out) == (status == "warn")


@pytest.mark.parametrize(("requeue", "status"), [(True, "ok"), (False, "warn")])
def test_requeue(*, requeue: bool, status: str) -> None:
    assert doctor_slurm._requeue(Limits(requeue=requeue)).status == status


@pytest.mark.parametrize(
    ("told", "short"), [("30 sec", True), ("60 sec", False), ("0 sec", False), ("", False)]
)
def test_time_to_die(told: str, *, short: bool) -> None:
    found = list(doctor_slurm._stubborn({"UnkillableStepTimeout": told}))
    assert [finding.name for finding in found] == ["slurm kill"] * short


@pytest.mark.parametrize(
    ("live", "bound", "status", "words"),
    [
        (3, None, "ok", "no limit"),
        (3, 10, "ok", "account lab allows you 10 queued jobs"),
        (10, 10, "warn", "10 are taken"),
    ],
)
def test_queued_jobs(live: int, bound: int | None, status: str, words: str) -> None:
    limits = Limits(account_qos={"lab": "normal"}, account_jobs={"lab": bound} if bound else {})
    found = doctor_slurm._queued(limits, live)
    assert (found.status, words in found.found) == (status, True)


def test_a_wrong_site_does_not_keep_the_doctor_away(tmp_path: Path) -> None:
    (tmp_path / "site.yaml").write_text("rot: /x")
    (tmp_path / "site.yaml").chmod(0o600)
    assert site_or_empty({"SPIKEGRID_SITE": str(tmp_path / "site.yaml")}) == Site()


def test_what_is_left_of_a_manifest_needs_room(tmp_path: Path) -> None:
    root, cells = run_root(tmp_path), [cell(seed) for seed in range(4)]
    items = plan(cells, {}, {})
    assert needs.of(root, "m", items) == Need(name="m", size=None, inodes=4 * 14)
    finish(root, cells[0])
    items = plan(cells, survey.progress(root, cells, Index(root)), {})
    found = needs.of(root, "m", items)
    assert found.inodes == 3 * 14
    assert found.size == 3 * garbage.weigh(root.cell(cells[0].training_id).folder).size
