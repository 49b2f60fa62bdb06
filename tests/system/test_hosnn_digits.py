"""HoSNN's procedure learns: accuracies of manifests/hosnn_digits.yaml, run as a user would."""

from pathlib import Path

import pandas as pd
import pytest

import analysis
from jobs.planning import finding
from tests.system.conftest import Bench

MANIFEST = finding.MANIFESTS / "hosnn_digits.yaml"


def results(bench: Bench, study: Path, cells: int, *only: str) -> pd.DataFrame:
    """Send a study, wait for its end, and collect."""
    bench("submit", str(study), "--cluster", "local", *only)
    bench.finish(cells, within_s=3600)
    bench("collect")
    return analysis.load("results", bench.root.path)


def least(found: pd.DataFrame, **setting: object) -> float:
    """Lowest accuracy of a setting, over its seeds."""
    for column, value in setting.items():
        found = found[found[column] == value]
    assert not found.empty
    return float(found["accuracy"].min())


@pytest.mark.slow
def test_one_seed_learns_in_a_quarter_of_the_time(bench: Bench, tmp_path: Path) -> None:
    study = tmp_path / "study.yaml"
    study.write_text(MANIFEST.read_text().replace("epochs: 30", "epochs: 7"))
    found = results(bench, study, 2, "--only", "regime=clean,seed=0")
    assert least(found, attack="clean", neuron="lif") >= 0.94
    assert least(found, attack="clean", neuron="ta_lif") >= 0.93


@pytest.mark.proof
def test_three_seeds_learn_and_withstand_what_they_were_trained_on(bench: Bench) -> None:
    found = results(bench, MANIFEST, 12)
    assert set(found["seed"]) == {0, 1, 2}
    assert least(found, attack="clean", neuron="lif", regime="clean") >= 0.96
    assert least(found, attack="clean", neuron="ta_lif", regime="clean") >= 0.95
    for neuron in ("lif", "ta_lif"):
        attacked = found[(found["attack"] == "pgd") & (found["epsilon_den"] == 255)]
        radius = attacked[attacked["epsilon_num"] == 16]
        plain, hardened = (
            radius[(radius["neuron"] == neuron) & (radius["regime"] == regime)]["accuracy"].mean()
            for regime in ("clean", "adversarial")
        )
        assert hardened >= plain + 0.05
