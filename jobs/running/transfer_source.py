"""The networks that transfer attacks climb on: loaded and verified like the one that is judged."""

from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from jobs import checkpoint, files, identity
from jobs.checkpoint import Weights
from jobs.errors import CorruptFile
from jobs.running.cell_run import CellRun
from snnlib import models
from snnlib.attacks.transfer import Loaded, LoadedSuite
from snnlib.classifier import SpikingClassifier
from snnlib.datasets import Data
from snnlib.errors import NotFinite, SnnlibError
from snnlib.spec.attack import AnyAttack, Climbing, Transfer
from snnlib.spec.model import Model


def armed(run: CellRun, named: Mapping[str, Any], data: Data) -> tuple[AnyAttack, str | None]:
    """An attack, with its source's network if it climbs on one, and the SHA-256 of those weights.

    Args:
        run: the attempt.
        named: the attack, canonical.
        data: of the cell; its source has learned the same.

    Raises:
        CorruptFile: the source's specification or weights are not what their names say.
        NotFinite: the source's weights are no numbers.
        SnnlibError: weights of an own file do not fit this cell's network.
    """
    attack = identity.restore_attack(dict(named))
    if not isinstance(attack, Climbing) or attack.source is None:
        return attack, None
    assert isinstance(attack.source, str), "resolved by whoever planned it"
    own, _, sha256 = attack.source.rpartition(":")
    if own:
        weights = checkpoint.load_own(Path(run.order["files"][sha256]), sha256)
        network = _built(run.spec.model, weights, data)
    else:
        model, weights, sha256 = _trained(run, attack.source)
        network = _built(model, weights, data)
    options: dict[str, Any] = {one.name: getattr(attack, one.name) for one in fields(attack)}
    kind = Loaded if isinstance(attack, Transfer) else LoadedSuite
    return kind(network=network.to(run.job.world.device), **options), sha256


def _trained(run: CellRun, training_id: str) -> tuple[Model, Weights, str]:
    """Model, weights and their SHA-256 of another trained cell."""
    cell = run.job.root.cell(training_id)
    spec = identity.restore(files.read_json(cell.spec))
    if identity.training_id(spec) != training_id:
        raise CorruptFile(f"{cell.spec}: is of another training than {training_id}")
    return spec.model, *checkpoint.load_final(cell)


def _built(model: Model, weights: Weights, data: Data) -> SpikingClassifier:
    if absurd := [name for name, tensor in weights.items() if not bool(tensor.isfinite().all())]:
        raise NotFinite(
            f"the source's {absurd[0]} is NaN or infinite in places, so what is found on it means "
            "nothing; train it again, or take another source"
        )
    network = models.build(model, shape=data.shape, classes=data.classes, seed=0)
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise SnnlibError(f"the source's weights do not fit its network: {reason}") from error
    return network


def watched(attack: AnyAttack, before_pass: Callable[[], object]) -> AnyAttack:
    """The attack, whose passes through its source too can be told to end."""
    if not isinstance(attack, Loaded | LoadedSuite):
        return attack
    return replace(attack, before_pass=before_pass)
