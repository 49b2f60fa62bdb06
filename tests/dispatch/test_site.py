"""site.yaml: what it may say, who may write it, and how errors read."""

from pathlib import Path

import pytest

from jobs.dispatch.site import Profile, Site, load
from jobs.errors import EnvironmentFault, UsageError

GOOD = """
root: ~/runs
data: /data sets/x
python: /opt/venv/bin/python
profiles:
  default: {partition: main}
  gpu:
    partition: "a100,h100"
    account: 0123
    qos: normal
    constraint: a100&nvlink
    gres: gpu:a100:2
    exclude: n[1-3],n7
    signal_delay_s: 120
    preamble: [module load cuda/12, "export A='b c'; true"]
    array_parallelism: 50
    max_array_size: 200
    slots: 2
"""


def write(folder: Path, text: str, mode: int = 0o600) -> dict[str, str]:
    path = folder / "site.yaml"
    path.write_text(text)
    path.chmod(mode)
    return {"SPIKEGRID_SITE": str(path), "HOME": "/home/me"}


def problems(folder: Path, text: str) -> list[str]:
    with pytest.raises(UsageError) as caught:
        load(write(folder, text))
    return [line.removeprefix(str(folder / "site.yaml")) for line in str(caught.value).splitlines()]


def test_places(tmp_path: Path) -> None:
    site = load(write(tmp_path, GOOD))
    assert (site.root, site.data) == ("/home/me/runs", "/data sets/x")
    assert site.python == "/opt/venv/bin/python"


def test_a_profile_becomes_parameters_of_the_executor(tmp_path: Path) -> None:
    profile = load(write(tmp_path, GOOD)).profile("gpu")
    assert (profile.max_array_size, profile.slots) == (200, 2)
    assert profile.parameters() == {
        "partition": "a100,h100",
        "account": "0123",
        "qos": "normal",
        "constraint": "a100&nvlink",
        "gres": "gpu:a100:2",
        "exclude": "n[1-3],n7",
        "signal_delay_s": 120,
        "array_parallelism": 50,
        "setup": ["module load cuda/12", "export A='b c'; true"],
    }


def test_the_default_profile(tmp_path: Path) -> None:
    assert load(write(tmp_path, GOOD)).profile(None).partition == "main"
    assert Site().profile(None).parameters() == {}


def test_an_unknown_profile_is_named_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"no profile 'gup' \(has default, gpu\); did you mean 'gpu'"
    ):
        load(write(tmp_path, GOOD)).profile("gup")
    with pytest.raises(UsageError, match=r"none found; set \$SPIKEGRID_SITE"):
        Site().profile("gpu")


def test_it_lies_in_the_users_configuration(tmp_path: Path) -> None:
    folder = tmp_path / ".config/spikegrid"
    assert load({"HOME": str(tmp_path)}) == load({}) == Site()
    folder.mkdir(parents=True)
    (folder / "site.yaml").write_text("root: /r")
    (folder / "site.yaml").chmod(0o600)
    assert load({"HOME": str(tmp_path)}).root == "/r"


def test_a_named_file_must_exist(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file, but"):
        load({"SPIKEGRID_SITE": str(tmp_path / "absent.yaml")})


@pytest.mark.parametrize("mode", [0o660, 0o606, 0o666])
def test_a_file_that_others_can_write_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(EnvironmentFault, match="chmod go-w"):
        load(write(tmp_path, GOOD, mode))


def test_a_strangers_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    env = write(tmp_path, GOOD)
    owner = Path(env["SPIKEGRID_SITE"]).stat().st_uid
    monkeypatch.setattr("os.getuid", lambda: owner + 1)
    if owner == 0:  # root's files are trusted: an administrator may provide them
        assert load(env).root
    else:
        with pytest.raises(EnvironmentFault, match="belongs to user"):
            load(env)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            'partition: "gpu; rm -rf ~"',
            ":2:18: profiles.a.partition: 'gpu; rm -rf ~': character ';'",
        ),
        ('partition: "gpu\\n#SBATCH --uid=0"', "character '\\n' not allowed"),
        ('partition: "gpu\\n"', "character '\\n' not allowed"),
        ("account: a b", "character ' ' not allowed"),
        ('qos: "a\'b"', "not allowed"),
        ("mail_user: $(id)", "character '$' not allowed"),
        ("constraint: a`b`", "character '`' not allowed"),
        ("gres: gpü", "character 'ü' not allowed"),
        ("qos: \uff11", "character '\uff11' not allowed"),
        (f"qos: {'x' * 300}", "too long"),
        ("exclude: [n1, n2]", ":2:16: profiles.a.exclude: expected a word"),
        ("partition:", "expected a word"),
        ("slots: 010", "expected a whole number from 1 to 10000, got '010'"),
        ("slots: 0", "expected a whole number"),
        ("signal_delay_s: 1.5", "expected a whole number"),
        ("preamble: module load x", "expected a list of lines"),
        ('preamble: ["a\\nb"]', "one line each"),
        ('preamble: ["a\\0b"]', "one line each"),
        ("partiton: x", "profiles.a.partiton: unknown key (has account, array_parallelism"),
        ("partiton: x", "did you mean 'partition'?"),
    ],
)
def test_values_are_matched_whole(tmp_path: Path, line: str, expected: str) -> None:
    found = problems(tmp_path, f"profiles:\n  a: {{{line}}}\n")
    assert expected in found[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("- a", ":1:1: expected keys with values"),
        ("profiles: [a]", ":1:11: profiles: expected keys"),
        ("profiles: {'a b': {}}", "a profile's name has letters"),
        (
            "rot: /x",
            ":1:1: rot: unknown key (has data, profiles, python, root, sinks); did you mean 'root'",
        ),
        ("root: runs", ":1:7: root: 'runs': expected an absolute path"),
        ("python: /a b", "signs of the shell"),
        ("root: /a\nroot: /b", ":2:1: root: the key is there twice"),
        ("root: [", "not YAML"),
        ("root: !!python/name:os.system x", "expected an absolute path"),
        ("a: &a [*a]", "unknown key"),
        ("x" * 200_000, "larger than 100,000 bytes"),
        ("sinks: tensorboard", ":1:8: sinks: expected a list of tensorboard, wandb"),
        ("sinks: [wandbe]", ":1:9: sinks.0: 'wandbe' is no sink (has tensorboard, wandb); did you"),
        ("sinks: [[wandb]]", ":1:9: sinks.0: "),
    ],
)
def test_what_is_wrong_and_where(tmp_path: Path, text: str, expected: str) -> None:
    assert expected in problems(tmp_path, text)[0]


def test_all_problems_are_listed(tmp_path: Path) -> None:
    text = "rot: /x\nprofiles:\n  a: {qos: 'x y', slots: -1}\n"
    assert len(problems(tmp_path, text)) == 3


def test_an_empty_file_sets_nothing(tmp_path: Path) -> None:
    site = load(write(tmp_path, "# nothing yet\n"))
    assert (site.profiles, site.profile(None)) == ({}, Profile())


def test_sinks_are_chosen_in_the_file_or_by_the_environment(tmp_path: Path) -> None:
    env = write(tmp_path, "sinks: [wandb, tensorboard, wandb]\n")
    assert load(env).sinks == ("wandb", "tensorboard")
    assert load({**env, "SPIKEGRID_SINKS": "tensorboard"}).sinks == ("tensorboard",)
    assert load({**env, "SPIKEGRID_SINKS": ""}).sinks == load({}).sinks == ()
    assert load({"SPIKEGRID_SINKS": " wandb, wandb,"}).sinks == ("wandb",)


def test_the_environment_cannot_name_another_sink() -> None:
    with pytest.raises(UsageError, match=r"^\$SPIKEGRID_SINKS: 'tensorbord' is no sink .*did you"):
        load({"SPIKEGRID_SINKS": "tensorbord"})
