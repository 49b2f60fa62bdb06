"""What does not fit, found without building a network."""

import pytest

from jobs.errors import ManifestError
from jobs.expand import manifest

HEAD = "version: 1\nname: fit\ndefaults: {dataset: digits, model: {name: small, neuron: lif}}\n"


@pytest.mark.parametrize(
    ("batch_norm", "processes", "fits"),
    [
        ("sync", 3, True),
        ("{local: 1}", 3, True),
        ("{local: 4}", 1, True),
        ("{local: 4}", 2, True),
        ("{local: 4}", 4, True),
        ("{local: 4}", 3, False),
        ("{local: 4}", 8, False),
    ],
)
def test_processes_divide_the_shards(batch_norm: str, processes: int, *, fits: bool) -> None:
    cell = f"cells: [{{regime: {{name: clean, batch_norm: {batch_norm}}}}}]\n"
    text = HEAD + cell + f"resources: {{processes_per_node: {processes}}}\n"
    if fits:
        assert len(manifest.parse(text.encode(), "m.yaml").cells) == 1
        return
    wanted = f"{processes} processes do not divide the 4 shards .*; take one of 1, 2, 4 processes"
    with pytest.raises(ManifestError, match=wanted):
        manifest.parse(text.encode(), "m.yaml")


def test_parents_that_are_no_cells_are_held_to_it() -> None:
    start = "{parent: {regime: {name: clean, batch_norm: {local: 4}}}}"
    cell = f'{{regime: {{name: adversarial, epsilon: "2/255", start: {start}}}}}'
    text = HEAD + f"cells: [{cell}]\nresources: {{processes_per_node: 3}}\n"
    with pytest.raises(ManifestError, match="3 processes do not divide the 4 shards"):
        manifest.parse(text.encode(), "m.yaml")
