"""fetch: what is not there is brought, verified, once; what cannot be brought says why."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.cli import DATASETS, main
from jobs.expand.manifest import read
from jobs.planning import datasets
from jobs.running import fetch
from snnlib.spec.data import FILES, DatasetName
from tests.snnlib.archive_server import Server, serve
from tests.snnlib.small_published import NAMES, publish

CHECKOUT = Path(__file__).resolve().parents[2]
MANIFEST = """\
version: 1
name: real
defaults:
  model: {name: hosnn_mnist}
  regime: {name: clean, epochs: 1}
cells: [{dataset: mnist}, {dataset: fashion_mnist}]
"""

pytestmark = pytest.mark.filterwarnings("ignore:Python 3.14 will:DeprecationWarning")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(fetch, "SAY_EVERY_S", 0.0)
    with serve() as found:
        yield found


def fetched(
    folder: Path, capsys: pytest.CaptureFixture[str], *names: str
) -> tuple[int, list[dict[str, object]], str]:
    """Exit code, lines and error of the child process."""
    code = fetch.main({"names": names, "folder": str(folder)})
    said = capsys.readouterr()
    return code, [json.loads(line) for line in said.out.splitlines()], said.err


@pytest.mark.parametrize("name", NAMES)
def test_a_data_set_is_brought_once(
    name: DatasetName,
    server: Server,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    small = publish(name, monkeypatch, server.url)
    server.files = small.archives
    assert not datasets.present(name, tmp_path)
    code, lines, _ = fetched(tmp_path, capsys, name)
    assert (code, lines[-1]) == (0, {"name": name, "downloaded": len(small.archives)})
    assert {Path(path).name for path in small.archives} == {x["file"] for x in lines[:-1]}
    assert datasets.present(name, tmp_path)
    asked = len(server.asked)
    assert fetched(tmp_path, capsys, name)[1] == [{"name": name, "downloaded": 0}]
    assert len(server.asked) == asked


@pytest.mark.parametrize("name", ["mnist", "svhn", "cifar10"])
def test_only_what_is_damaged_is_brought_again(
    name: DatasetName,
    server: Server,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server.files = publish(name, monkeypatch, server.url).archives
    fetched(tmp_path, capsys, name)
    (tmp_path / FILES[name][0]).write_bytes(b"torn")
    code, lines, _ = fetched(tmp_path, capsys, name)
    # MNIST and CIFAR are unpacked from archives that are still there
    assert (code, lines[-1]) == (0, {"name": name, "downloaded": int(name == "svhn")})
    assert fetched(tmp_path, capsys, name)[1] == [{"name": name, "downloaded": 0}]


def test_torn_files_whose_archives_were_deleted_are_mended(
    server: Server,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server.files = publish("fashion_mnist", monkeypatch, server.url).archives
    fetched(tmp_path, capsys, "fashion_mnist")
    for archive in server.files:
        (tmp_path / archive).unlink()
    assert fetched(tmp_path, capsys, "fashion_mnist")[1][-1]["downloaded"] == 0
    path = tmp_path / FILES["fashion_mnist"][0]
    path.write_bytes(path.read_bytes()[:-1])
    assert fetched(tmp_path, capsys, "fashion_mnist")[1][-1]["downloaded"] == 4
    assert fetched(tmp_path, capsys, "fashion_mnist")[1][-1]["downloaded"] == 0


def test_a_broken_download_may_be_tried_again(
    server: Server,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server.files = publish("cifar10", monkeypatch, server.url).archives
    server.breaks_after = 1000
    code, _, error = fetched(tmp_path, capsys, "cifar10")
    assert code == 75
    assert "broke off after 1,000 of" in error
    assert "run the same command again" in error
    server.breaks_after = None
    assert fetched(tmp_path, capsys, "cifar10")[0] == 0
    assert server.asked[-1][1] == "bytes=1000-"


def test_what_no_server_has_names_the_place_to_put_it(
    server: Server,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    publish("svhn", monkeypatch, server.url)
    code, lines, error = fetched(tmp_path, capsys, "digits", "svhn")
    assert (code, lines) == (3, [{"name": "digits", "downloaded": 0}])
    assert f"{server.url}/train_32x32.mat: HTTP 404" in error
    assert f"put the file at {tmp_path}/train_32x32.mat (md5 " in error


def test_a_folder_that_cannot_be_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    code, _, error = fetched(tmp_path / "file", capsys, "svhn")
    assert code == 3
    way_out = "choose another folder with --data or $SPIKEGRID_DATA"
    assert error == f"{tmp_path}/file: File exists; {way_out}\n"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run root with a manifest beside it."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.setenv("SPIKEGRID_ROOT", str(tmp_path / "runs"))
    for variable in ("SPIKEGRID_SITE", "SPIKEGRID_DATA"):
        monkeypatch.delenv(variable, raising=False)
    (tmp_path / "real.yaml").write_text(MANIFEST)
    return tmp_path


def test_the_help_names_what_can_be_fetched() -> None:
    assert DATASETS.replace(" or ", ", ").split(", ") == [n for n, files in FILES.items() if files]


def test_an_unknown_data_set(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fetch", "cifar"]) == 2
    assert "'cifar' is not a known data set" in capsys.readouterr().err


def test_plan_needs_no_data_and_says_what_would(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", str(place / "real.yaml")]) == 0
    said = capsys.readouterr()
    assert "2 train     new" in said.out
    assert said.out.splitlines()[-1].endswith("launch.py fetch mnist fashion_mnist")
    assert said.err == (
        f"mnist, fashion_mnist are not, or not whole, in {place}/runs/datasets; "
        "submit would refuse\n"
    )
    assert not (place / "runs").exists()


@pytest.mark.parametrize(
    "words",
    [
        ["submit", "real.yaml", "--cluster", "local"],
        ["submit", "real.yaml", "--cluster", "local", "--only", "dataset=fashion_mnist"],
        ["run", "fashion_mnist/hosnn_mnist-lif/clean/s0", "--manifest", "real.yaml"],
    ],
)
def test_nothing_is_sent_without_its_data(
    place: Path,
    words: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(place)
    for file in FILES["mnist"]:
        (place / "data" / file).parent.mkdir(parents=True, exist_ok=True)
        (place / "data" / file).touch()
    assert main([*words, "--data", "data"]) == 3
    said = capsys.readouterr().err
    assert said.startswith(f"fashion_mnist is not, or not whole, in {place}/data; jobs never down")
    assert said.endswith("launch.py fetch fashion_mnist --data data\n")
    assert not list((place / "runs").glob("submissions/*"))


def test_data_that_are_there_are_found_by_name_alone(place: Path) -> None:
    cells = read(place / "real.yaml").cells
    assert datasets.absent(cells, place) == ["mnist", "fashion_mnist"]
    for file in FILES["mnist"]:
        (place / file).parent.mkdir(parents=True, exist_ok=True)
        (place / file).touch()
    assert datasets.absent(cells, place) == ["fashion_mnist"]


@pytest.mark.slow
def test_without_network_the_command_ends_in_3(place: Path) -> None:
    argv = [sys.executable, "launch.py", "fetch", "mnist", "digits", "--data", str(place)]
    nowhere = {f"{scheme}_proxy": "http://127.0.0.1:9" for scheme in ("http", "https")}
    env = {"PATH": "/usr/bin:/bin", "HOME": str(place), **nowhere}
    done = subprocess.run(argv, cwd=CHECKOUT, env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (3, "digits: comes with the program\n")
    assert "Connection refused" in done.stderr
    assert len(done.stderr.splitlines()) == 1
