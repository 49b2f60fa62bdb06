"""What the README shows is true."""

import re
from pathlib import Path
from typing import Any

from jobs.cli import COMMANDS
from jobs.expand.manifest import parse

README = (Path(__file__).resolve().parent.parent / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_its_manifest_is_read() -> None:
    assert len(parse(blocks("yaml")[0].encode(), "README.md").cells) == 12


def test_its_layer_table_fits() -> None:
    network = "".join(f"  {line}\n" for line in blocks("yaml")[1].splitlines())
    text = f"version: 1\nname: own\ndefaults:\n{network}  dataset: digits\n"
    (cell,) = parse(f"{text}cells: [{{regime: clean}}]\n".encode(), "README.md").cells
    assert cell.training.model.name == "layers"


def test_its_transfer_attacks_are_read() -> None:
    attacks = "".join(f"    {line}\n" for line in blocks("yaml")[2].splitlines())
    text = f'version: 1\nname: own\ncells:\n  - dataset: digits\n{attacks}    epsilons: ["8/255"]\n'
    entry = "    model: {name: small, neuron: lif}\n    regime: clean\n"
    (cell,) = parse(f"{text}{entry}".encode(), "README.md").cells
    assert [source.training.seed for source in cell.sources] == [7, 0]


def test_its_example_runs() -> None:
    found: dict[str, Any] = {}
    exec(blocks("python")[1], found)
    assert found["found"].z.shape == (4, 1, 28, 28)


def test_its_site_file_is_read(tmp_path: Path) -> None:
    from jobs.dispatch.site import load

    path = tmp_path / "site.yaml"
    path.write_text(blocks("yaml")[-1])
    site = load({"SPIKEGRID_SITE": str(path)})
    assert site.profile("small").array_parallelism == 20


def test_its_commands_exist() -> None:
    named = re.findall(r"launch\.py ([a-z]+)", README)
    assert set(named) <= set(COMMANDS)


def test_its_files_exist() -> None:
    root = Path(__file__).resolve().parent.parent
    prose = re.sub(r"```.*?```", "", README, flags=re.DOTALL)
    for name in re.findall(r"\]\(([^)]+)\)", prose):
        assert (root / name).exists(), name
