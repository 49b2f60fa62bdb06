"""What does not fit, found without building a network."""

import pytest

from jobs import manifest
from jobs.errors import ManifestError

HEAD = "version: 1\nname: fit\ndefaults: {dataset: mnist, regime: clean}\n"


@pytest.mark.parametrize(
    ("model", "fits"),
    [
        ("hosnn_mnist", True),
        ("{name: sew_resnet18, neuron: if}", False),
        ("{name: layers, layers: [{type: linear, out_features: 9}]}", True),
        ("{name: layers, layers: [{type: linear, out_features: 9, batch_norm: true}]}", False),
    ],
)
def test_batch_norm_wants_one_process(model: str, *, fits: bool) -> None:
    text = HEAD + f"cells: [{{model: {model}}}]\nresources: {{gpus_per_node: 2}}\n"
    if fits:
        assert len(manifest.parse(text.encode(), "m.yaml").cells) == 1
        return
    with pytest.raises(ManifestError, match="normalises over batches, which one process can do"):
        manifest.parse(text.encode(), "m.yaml")
