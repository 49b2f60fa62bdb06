"""Run roots without training: the files that jobs leave, with invented numbers."""

import json
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from jobs import files, identity, records
from jobs.layout import RunRoot
from snnlib.spec.attack import FGSM, PGD, AnyAttack, Clean
from snnlib.spec.data import Dataset, Evaluation
from snnlib.spec.model import Small
from snnlib.spec.neuron import IF, LIF, SpikeNeuron
from snnlib.spec.training import AdversarialRegime, CleanRegime, TrainingSpec

CODE = "c0de" * 4
EVALUATION = Evaluation()


def spec(
    seed: int = 0,
    neuron: str | SpikeNeuron = "lif",
    *,
    adversarial: bool = False,
    time_steps: int = 4,
    start: str | None = None,
    nds: str | None = None,
) -> TrainingSpec:
    """A specification like those of the quickstart."""
    regime = AdversarialRegime(epsilon=Fraction(8, 255)) if adversarial else CleanRegime()
    cells: dict[str, SpikeNeuron] = {"if": IF(), "lif": LIF()}
    chosen = cells[neuron] if isinstance(neuron, str) else neuron
    model = Small(neuron=chosen, time_steps=time_steps)
    return TrainingSpec(
        dataset=Dataset(name="digits"),
        model=model,
        regime=regime,
        seed=seed,
        start=start,
        nds=nds,
    )


def mask(correct: int, total: int, shift: int = 0) -> tuple[bool, ...]:
    """Flags with so many set, starting at `shift`, in a circle."""
    return tuple((i - shift) % total < correct for i in range(total))


class SyntheticRoot:
    """A run root that is filled by hand."""

    def __init__(self, path: Path) -> None:
        self.root = RunRoot(path)
        path.mkdir(parents=True, exist_ok=True)

    @property
    def path(self) -> Path:
        return self.root.path

    def train(self, what: TrainingSpec, model: str = "a" * 64) -> str:
        """A finished training with one attempt; returns its id."""
        training_id = identity.training_id(what)
        cell = self.root.cell(training_id)
        cell.folder.mkdir(parents=True, exist_ok=True)
        files.replace(cell.spec, identity.canonical(what).encode())
        measured = {**_MEASURED, "codes": [CODE]}
        counts = {"best_epoch": 17, "validation_correct": 190, "validation_total": 200}
        head = {"schema_version": 1, "training_id": training_id, "label": label(what)}
        done = {"model_sha256": model, "checkpoint": "step-00000380.a0001", **counts}
        progress = {"epochs": 20, "steps": 380, "history": [], "measured": measured}
        files.create(cell.training, files.dumps({**head, **done, **progress}))
        self.attempt(what, 1, {"state": "completed", "reason": "", "step": 380, "seconds": 2.5})
        return training_id

    def attempt(self, what: TrainingSpec, number: int, end: dict[str, Any] | None) -> Path:
        """One attempt; without an end it was killed, or runs."""
        training_id = identity.training_id(what)
        cell = self.root.cell(training_id)
        cell.folder.mkdir(parents=True, exist_ok=True)
        files.replace(cell.spec, identity.canonical(what).encode())
        paths = cell.attempt(number)
        paths.folder.mkdir(parents=True)
        head = {"schema_version": 1, "training_id": training_id, "number": number}
        job = {"submission": 3, "task": 0, "job_id": "123_4", "job_name": "sg", "claimed": 1e9}
        who = {"host": "n1", "pid": 7, "start": 1, "boot": "", "code": CODE}
        more = {"label": label(what), "attacks": ["x" * 16], "processes": 1, "gpus": 0}
        files.create(paths.claim, files.dumps({**head, **job, **who, **more}))
        if end is not None:
            files.create(paths.end, files.dumps(end))
        return paths.folder

    def evaluate(
        self,
        what: TrainingSpec,
        attack: AnyAttack,
        masks: Mapping[Fraction, Sequence[bool]],
        **changed: Any,
    ) -> Path:
        """A record of one attack; `changed` replaces fields of the record or of `measured`."""
        training_id = identity.training_id(what)
        measured = {**_MEASURED, "batch": 256, "codes": [CODE]}
        measured |= {key: value for key, value in changed.items() if key in measured}
        hashes = {"model_sha256": "a" * 64, "samples_sha256": "5" * 64}
        hashes |= {key: value for key, value in changed.items() if key in hashes}
        record = records.Record(
            training_id=training_id,
            attack_id=identity.attack_id(attack, EVALUATION, "digits"),
            attack=identity.plain(attack),
            evaluation={"dataset": "digits", "split": "test", "samples": None, "seed": 0},
            rows=tuple(_row(epsilon, flags) for epsilon, flags in sorted(masks.items())),
            measured=measured,
            model_sha256=hashes["model_sha256"],
            samples_sha256=hashes["samples_sha256"],
        )
        return records.write(self.root.cell(training_id), record)

    def tombstone(self, *ids: str) -> None:
        """Invalidate a training, or one attack on it."""
        self.root.invalidated.mkdir(exist_ok=True)
        path = self.root.tombstone("-".join([*ids, "0002"]))
        path.write_text(json.dumps({"reason": "wrong data", "at": 1.0}))


def label(what: TrainingSpec) -> str:
    """The name for people."""
    name = f"{what.model.name}-{what.model.neuron.name}"
    return f"{what.dataset.name}/{name}/{what.regime.name}/s{what.seed}"


def quickstart(path: Path, seeds: int = 2, total: int = 400) -> SyntheticRoot:
    """2 neurons x 2 regimes x seeds, clean, FGSM and PGD over five radii."""
    made = SyntheticRoot(path)
    grid = [Fraction(n, 255) for n in (4, 8, 16, 24, 32)]
    for seed in range(seeds):
        for neuron in ("if", "lif"):
            for adversarial in (False, True):
                what = spec(seed, neuron, adversarial=adversarial)
                made.train(what)
                top = (0.975 if adversarial else 0.985) - 0.006 * seed
                slope = (1.6 if adversarial else 4.5) * (1.1 if neuron == "if" else 0.9) + seed / 4
                made.evaluate(what, Clean(), {Fraction(0): mask(round(top * total), total)})
                for attack, strength in ((FGSM(), 1.0), (PGD(), 1.4)):
                    shares = {e: top / (1 + (slope * strength * 4 * float(e)) ** 2) for e in grid}
                    masks = {e: mask(round(s * total), total, 3) for e, s in shares.items()}
                    made.evaluate(what, attack, masks)
    return made


def _row(epsilon: Fraction, flags: Sequence[bool]) -> records.Row:
    return records.Row(
        epsilon=epsilon, correct=sum(flags), total=len(flags), mask=tuple(flags), zero_gradient=0
    )


_MEASURED: dict[str, Any] = {
    "attempt": 1,
    "seconds": 1.5,
    "host": "n1",
    "device": "cpu",
    "threads": 1,
    "world_size": 1,
    "versions": {"torch": "2.13.0"},
    "promise": "bitwise",
}
