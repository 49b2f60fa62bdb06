"""HoSNN's procedure as a small study: LIF, its signature, TA-LIF, adversarial training, attacks."""

from pathlib import Path

CHAIN = """version: 1
name: chain
defaults:
  dataset: digits
  epsilons: ["8/255"]
  attacks: [fgsm, {name: pgd, steps: 2}]
  evaluation: {samples: 40}
  model:
    name: layers
    layers: [{type: pool, weight: 0.25}, {type: linear, out_features: 24}]
    time_steps: 3
grid:
  regime:
    - {name: adversarial, epsilon: "8/255", epochs: 1, start: {parent: {regime: clean}}}
    - {name: clean, epochs: EPOCHS, lr: 0.01}
  model.neuron:
    - {name: ta_lif, nds: {parent: {model.neuron: lif, regime: clean}}}
    - lif
resources: {mem_gb: 0.5}
"""
"""Four cells, children before their parents; the one signature is that of lif/clean."""


def chain(folder: Path, *, epochs: int = 2) -> Path:
    """The study as a file."""
    path = folder / "chain.yaml"
    path.write_text(CHAIN.replace("EPOCHS", str(epochs)))
    return path
