"""From a run root to a paper's figure and table, as a notebook would have it."""

import re
from pathlib import Path

import pytest

from tests.analysis.synthetic import quickstart

SCRIPT = """\
from pathlib import Path
import analysis

results, samples = analysis.load("results", root), analysis.load("samples", root)
print(analysis.check(results, samples))
results = analysis.select(results, space="pixel", norm="linf")
worst = analysis.worst_case(results, samples)
analysis.draw_curves(worst).save(paper)
(paper / "robustness.tex").write_text(analysis.to_latex(worst, epsilons=["8/255", "16/255"]))
adversarial = analysis.select(worst, regime="adversarial")
lif, plain = (analysis.select(adversarial, neuron=name) for name in ("lif", "if"))
found = analysis.compare(lif, plain)
print(found[["epsilon", "difference", "sample_low", "sample_high", "p_holm"]])
print(analysis.over_seeds(analysis.area_under_curve(worst), "area")[["network", "training", "mean"]])
"""


@pytest.mark.slow
def test_a_run_root_becomes_a_figure_and_a_table_in_under_20_lines(tmp_path: Path) -> None:
    from analysis.collecting.collect import collect

    assert len(SCRIPT.splitlines()) < 20
    made, paper = quickstart(tmp_path / "runs", seeds=3, total=200), tmp_path / "paper"
    collect([made.path])
    exec(SCRIPT, {"root": made.path, "paper": paper})
    assert {path.suffix for path in paper.iterdir()} == {".pdf", ".svg", ".png", ".tex"}
    table = (paper / "robustness.tex").read_text()
    assert re.search(r"small-lif & adversarial fgsm@8/255 & \$9\d\.\d \\pm \d\.\d\$ & ", table)
    assert table.count("\\\\\n") == 6


def test_the_readme_shows_such_a_script(tmp_path: Path) -> None:
    text = (Path(__file__).resolve().parents[2] / "README.md").read_text()
    (block,) = re.findall(r"```python\n(import analysis\n.*?)```", text, re.DOTALL)
    named = set(re.findall(r"analysis\.(\w+)\(", block))
    import analysis

    assert {"load", "worst_case", "draw_curves", "to_latex"} <= named <= set(analysis.__all__)
