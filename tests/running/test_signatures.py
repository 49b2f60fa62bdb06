"""Signatures of TA-LIF networks in manifests: what enters a training, and what does not."""

from pathlib import Path

from jobs import identity
from jobs.expand import manifest
from jobs.expand.cell import Cell

SHA = "ab" * 32
LAYERS = (
    "layers: [{type: conv, out_channels: 6, kernel_size: 5}, {type: pool, kernel_size: 4},"
    " {type: linear, out_features: 20}]"
)


def cells(*signatures: str) -> tuple[Cell, ...]:
    text = "version: 1\nname: nds\ndefaults: {dataset: digits, regime: clean}\ncells:\n"
    for nds in signatures:
        neuron = f"{{name: ta_lif, nds: {{{nds}}}}}"
        text += f"  - model: {{name: layers, {LAYERS}, neuron: {neuron}}}\n"
    return manifest.parse(text.encode(), "m.yaml").cells


def own_file(path: str) -> str:
    return f"checkpoint: {{path: {path}, sha256: {SHA}}}"


def test_the_signature_is_part_of_the_training() -> None:
    one, two, three = cells(
        "constant: 0.5", "constant: 0.25", own_file("tests/data/fits.safetensors")
    )
    assert len({one.training_id, two.training_id, three.training_id}) == 3
    assert one.training.nds == "constant:0.5"
    assert three.training.nds == f"sha256:{SHA}"
    assert three.files == ((SHA, "tests/data/fits.safetensors"),)


def test_where_its_file_lies_is_not(tmp_path: Path) -> None:
    elsewhere = tmp_path / "copy.safetensors"
    elsewhere.write_bytes(Path("tests/data/fits.safetensors").read_bytes())
    (one,) = cells(own_file("tests/data/fits.safetensors"))
    (two,) = cells(own_file(str(elsewhere)))
    assert one.training_id == two.training_id


def test_labels_tell_signatures_apart() -> None:
    one, two = cells("constant: 0.5", "constant: 0.25")
    assert one.label == "digits/layers-ta_lif/clean/nds=0.5/s0"
    assert two.label == "digits/layers-ta_lif/clean/nds=0.25/s0"


def test_a_training_with_a_signature_is_read_back() -> None:
    (cell,) = cells("constant: 0.5")
    assert identity.restore(identity.plain(cell.training)) == cell.training
