"""Each kind of published grid, cut down from its own manifest, from training to tables.

The manifests stand for large data sets and networks. Here a copy of the checkout takes small files
in the true formats for the published ones, and its wide networks have a sixteenth of their width.
"""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

import analysis
from snnlib import published
from snnlib.doors import torchvision
from snnlib.spec.data import SIZES, DatasetName
from tests.snnlib.small_published import CLASSES_OF, TEST, TRAIN, publish
from tests.system.conftest import Bench

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:Python 3.14 will:DeprecationWarning"),
]

KINDS: dict[str, DatasetName] = {
    "hosnn_mnist": "mnist",
    "hosnn_cifar10": "cifar10",
    "hosnn_cifar100": "cifar100",
    "gradsparsity_cifar100": "cifar100",
}
"""One manifest of each kind, with its data set."""
SHORT: dict[str, Any] = {
    "evaluation": {"samples": 4, "batch": 4},
    "regime": {"epochs": 1, "batch_size": 20},
}


def shrink(checkout: Path, data: Path, patch: pytest.MonkeyPatch) -> None:
    """Lay small data sets, have the checkout take them for the published, and thin its networks."""
    lines = {"snnlib/spec/data.py": "", "snnlib/published.py": ""}
    for name in dict.fromkeys(KINDS.values()):
        publish(name, patch).lay(data)
        published.unpack(name, data)
        lines["snnlib/spec/data.py"] += f"SIZES[{name!r}] = {SIZES[name]!r}\n"
        kind = getattr(torchvision("torchvision.datasets"), CLASSES_OF[name])
        for attribute in ("resources", "train_list", "test_list", "meta", "url", "tgz_md5"):
            if hasattr(kind, attribute):
                value = getattr(kind, attribute)
                lines["snnlib/published.py"] += f"_class({name!r}).{attribute} = {value!r}\n"
    for file, more in lines.items():
        (checkout / file).write_text(f"{(checkout / file).read_text()}\n{more}")
    model = checkout / "snnlib/spec/model.py"
    thin = re.sub(r"\b(128|256|512|1024)\b", lambda m: str(int(m[1]) // 16), model.read_text())
    model.write_text(thin)


def cut(name: str, manifests: Path, folder: Path) -> Path:
    """A manifest with one epoch, one radius, few samples, no GPU, and the least deep networks."""
    found = yaml.safe_load((manifests / f"{name}.yaml").read_text())
    own = found["defaults"].get("regime", {})
    regime = {"name": own} if isinstance(own, str) else own
    found["defaults"] |= {**SHORT, "regime": {**regime, **SHORT["regime"]}}
    found["defaults"]["epsilons"] = found["defaults"]["epsilons"][:1]
    cells = found.get("cells", [])
    found["cells"] = [cell for cell in cells if cell["model"]["name"].endswith("18")]
    found["resources"] = {"cells_per_job": 3, "mem_gb": 1}
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(found))
    return path


def test_a_cut_of_every_kind_goes_from_training_to_tables(
    bench: Bench, own_checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data"
    shrink(own_checkout, data, monkeypatch)
    bench.env["SPIKEGRID_DATA"] = str(data)
    studies = [cut(name, own_checkout / "manifests", tmp_path) for name in KINDS]
    for study in studies:
        bench("submit", str(study), "--cluster", "local")
    bench.finish(15, within_s=600)
    bench("collect")
    trainings, results = (analysis.load(t, bench.root.path) for t in ("trainings", "results"))
    assert trainings.groupby("faithful", observed=True).size().to_dict() == {"A": 3, "B": 12}
    assert (trainings["validation_total"] == TEST).all()  # best_test: the test images choose
    assert (trainings["steps"] == TRAIN / SHORT["regime"]["batch_size"]).all()
    assert len(results) == 3 * (1 + 2) + 12 * (1 + 4)
    assert set(results["faithful"]) == {"A", "B"}
    assert len(list(bench.root.cells.glob("*/*/stages/*.safetensors"))) == 3
