"""What of a network does not fit its data or itself, found without building it."""

from collections.abc import Iterator
from pathlib import Path

from jobs.expand import tensors
from snnlib.spec.attack import (
    APGD,
    FAB,
    Attack,
    AttackLoss,
    AutoAttack,
    Blind,
    Climbing,
    GradientAttack,
    SpikingSuite,
    Transfer,
)
from snnlib.spec.audit_attacks import judged
from snnlib.spec.data import CLASSES, SHAPES, Dataset
from snnlib.spec.encoder import Direct, Latency, Poisson
from snnlib.spec.layers import Conv, LayerError, Linear, place
from snnlib.spec.model import SMALLEST, HoSNN, LayerTable, Model, readout, table
from snnlib.spec.neuron import NDS, TALIF
from snnlib.spec.stage import AuditStage, GradientsStage, NDSStage, Stage
from snnlib.spec.training import Regime, SRRegime, TradesRegime

Misfit = tuple[str, str]
"""(dotted key below the part, message)."""


def network(model: Model, dataset: Dataset) -> Iterator[Misfit]:
    """What of a network does not fit the images it is given."""
    yield from _encoder(model, dataset)
    _, height, width = SHAPES[dataset.name]
    least = SMALLEST.get(model.name, 1)
    if min(height, width) < least:
        size = f"{height}x{width}"
        yield "name", f"{model.name} needs images of {least}x{least}, '{dataset.name}' has {size}"
    if isinstance(model, HoSNN | LayerTable):
        yield from _layers(model, dataset)
    if model.neuron.name == "relu":
        yield from _twin(model)


def _encoder(model: Model, dataset: Dataset) -> Iterator[Misfit]:
    encoder, channels = model.encoder, SHAPES[dataset.name][0]
    if isinstance(encoder, Direct):
        if len(encoder.mean) != len(encoder.std):
            counts = f"{len(encoder.mean)} means and {len(encoder.std)} standard deviations"
            yield "encoder", f"{counts}; write as many of one as of the other"
        elif len(encoder.mean) not in (0, 1, channels):
            wanted = f"'{dataset.name}' has {channels} channel{'s' * (channels > 1)}"
            counts = "1" if channels == 1 else f"1 or {channels}"
            yield "encoder.mean", f"{len(encoder.mean)} values, but {wanted}; write {counts}"
    if isinstance(encoder, Latency) and model.time_steps < 2:
        message = "encoder 'latency' tells values apart by their step; write time_steps: 2 or more"
        yield "time_steps", message


def _layers(model: HoSNN | LayerTable, dataset: Dataset) -> Iterator[Misfit]:
    try:
        place(table(model), SHAPES[dataset.name], CLASSES[dataset.name])
    except LayerError as error:
        own = isinstance(model, LayerTable)
        key = f"layers.{error.place}.{error.key}".rstrip(".") if own else "name"
        yield key, f"{error} (images of '{dataset.name}' are {_times(SHAPES[dataset.name])})"


def _times(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _twin(model: Model) -> Iterator[Misfit]:
    if model.time_steps != 1:
        yield "time_steps", "neuron relu makes an ANN, which has no time; write time_steps: 1"
    if readout(model) != "current":
        yield "readout", "neuron relu makes an ANN, which has no spikes; write readout: current"
    if model.encoder.name != "direct":
        way_out = "write encoder: direct"
        yield "encoder", f"neuron relu makes an ANN, which reads the image itself; {way_out}"


def signature(model: Model, nds: NDS | None, dataset: Dataset) -> Iterator[Misfit]:
    """What of an NDS does not fit its network; reads the header of its file."""
    if not isinstance(model.neuron, TALIF):
        return
    if nds is None:
        yield (
            "neuron",
            (
                "ta_lif needs the signature that steers it; write "
                "nds: {parent: {model.neuron: lif, regime: clean}}, "
                "nds: {checkpoint: {path: …, sha256: …}} or nds: {constant: 0.5}"
            ),
        )
        return
    if [nds.parent, nds.checkpoint, nds.constant].count(None) != 2:
        yield "neuron.nds", "write one of 'parent', 'checkpoint' and 'constant' here"
        return
    if nds.checkpoint is None:
        return
    try:
        found = tensors.shapes(Path(nds.checkpoint.path))
        wanted = signature_shapes(model, dataset)
    except LayerError:
        return  # said already
    except ValueError as error:
        yield "neuron.nds.checkpoint.path", str(error)
        return
    for name, shape in wanted.items():
        if found.get(name) != shape:
            got = "is absent" if name not in found else f"is {_times(found[name])}"
            message = f"{name} {got}, this network needs {_times(shape)} (time first)"
            yield "neuron.nds.checkpoint.path", message
    for name in sorted(found.keys() - wanted.keys()):
        message = f"{name} is no TA-LIF layer of this network (it has {', '.join(wanted)})"
        yield "neuron.nds.checkpoint.path", message


def source(model: Model, dataset: Dataset, parent: Model, parent_dataset: Dataset) -> str:
    """Why a signature collected from a parent does not fit a network, or nothing."""
    if silent := _untraced(parent):
        return silent
    wanted = signature_shapes(model, dataset)
    found = signature_shapes(parent, parent_dataset)
    for name in sorted(wanted.keys() | found.keys()):
        if wanted.get(name) != found.get(name):
            sizes = [_times(one[name]) if name in one else "absent" for one in (found, wanted)]
            return f"{name} is {sizes[0]} in the parent, this network needs {sizes[1]} (time first)"
    return ""


def _untraced(model: Model) -> str:
    """Why no signature can be collected from a network, or nothing."""
    if isinstance(model, HoSNN | LayerTable) and model.neuron.name != "relu":
        return ""
    return f"a signature is collected from neurons with traces; {model.name} has none"


def stage(stage: Stage, model: Model) -> Iterator[Misfit]:
    """What of a stage has no meaning for a network."""
    match stage:
        case NDSStage():
            if silent := _untraced(model):
                yield "", silent
        case GradientsStage():
            yield from _loss(stage.loss, model)
        case AuditStage():
            yield from attack(judged(stage), model)


def _way_back(attack: GradientAttack | FAB | AutoAttack, model: Model) -> Iterator[Misfit]:
    """What of the attacker's surrogate and gradient rule does not fit the neurons."""
    if model.neuron.name == "relu":
        silent = "neuron relu has no spikes that a gradient must pass; write own"
        if attack.surrogate != "own":
            yield "surrogate", silent
        if attack.gradient != "own":
            yield "gradient", silent
    elif attack.gradient == "tsslbp" and not isinstance(model, HoSNN | LayerTable):
        of = f"{model.name} with {model.neuron.name} has none, write own"
        yield "gradient", f"gradient 'tsslbp' belongs to neurons with traces; {of}"


def _loss(loss: AttackLoss, model: Model) -> Iterator[Misfit]:
    if loss == "trace_cross_entropy" and readout(model) != "trace":
        message = f"compares output traces, but {model.name} is read by its {readout(model)}"
        yield "loss", f"loss 'trace_cross_entropy' {message}; write cross_entropy"


def signature_shapes(model: Model, dataset: Dataset) -> dict[str, tuple[int, ...]]:
    """Shape [T, ...] of the signature of each TA-LIF layer."""
    if not isinstance(model, HoSNN | LayerTable):
        return {}
    placed = place(table(model), SHAPES[dataset.name], CLASSES[dataset.name])
    return {
        layer.name: (model.time_steps, *layer.after)
        for layer in placed
        if isinstance(layer.layer, Conv | Linear)
    }


def attack(attack: Attack, model: Model) -> Iterator[Misfit]:
    """What of an attack has no meaning for a network."""
    direct = model.encoder if isinstance(model.encoder, Direct) else None
    if attack.space == "encoded" and direct is not None and not direct.mean:
        yield (
            "space",
            (
                "space 'encoded' perturbs the encoder's output, which with encoder 'direct' is the "
                "image; write pixel, or another encoder"
            ),
        )
    if isinstance(attack, Blind | Transfer):
        return
    if not isinstance(attack, FAB):
        yield from draws(attack.draws, model)
    if isinstance(attack, SpikingSuite):
        return
    yield from _way_back(attack, model)
    if isinstance(attack, FAB | AutoAttack):
        return
    yield from _loss(attack.loss, model)
    if isinstance(attack, APGD) and attack.targets is not None and attack.loss != "cross_entropy":
        yield "loss", "with 'targets' apgd climbs the targeted ratio of logits; leave 'loss' out"


def draws(count: int, model: Model) -> Iterator[Misfit]:
    """Why a mean over draws of noise has no meaning for a network."""
    if count > 1 and not is_random(model):
        name = model.encoder.name
        yield "draws", f"nothing is random here: encoder '{name}' has no noise; leave 'draws' out"


def is_random(model: Model) -> bool:
    """Whether a trained network may answer one image in different ways."""
    return isinstance(model.encoder, Poisson)


def transfer(given: Climbing, source: Model) -> Iterator[Misfit]:
    """What of a transfer attack has no meaning for the network that it climbs on."""
    if given.space != "pixel":
        key = "attack.space" if isinstance(given, Transfer) else "space"
        message = "perturbs pixels, which is all that two networks share; leave 'space' out"
        yield key, f"a transfer attack {message}"
        return
    if isinstance(given, SpikingSuite):
        return
    for key, message in attack(given.attack, source):
        yield f"attack.{key}", message


def other_task(dataset: Dataset, source: Dataset) -> str:
    """Why points found for one dataset mean nothing for another, or nothing."""
    if source.name == dataset.name:
        return ""
    found, wanted = (
        f"{_times(SHAPES[one.name])} with the {CLASSES[one.name]} classes of '{one.name}'"
        for one in (source, dataset)
    )
    return f"the source learned images of {found}, this cell has {wanted}"


def regime(regime: Regime, model: Model) -> Iterator[Misfit]:
    """What of a regime has no meaning for a network or in itself."""
    if regime.loss == "kernel" and readout(model) != "trace":
        yield (
            "loss",
            (
                f"loss 'kernel' compares output traces, but {model.name} is read by its "
                f"{readout(model)}; write readout: trace in a hosnn network, or loss: cross_entropy"
            ),
        )
    if regime.t_max is not None and regime.schedule != "cosine_epochs":
        message = f"schedule '{regime.schedule}' has none; remove it, or write cosine_epochs"
        yield "t_max", message
    if regime.batch_size % regime.shards:
        message = f"{regime.shards} shards do not divide a batch of {regime.batch_size}"
        yield "batch_norm", f"{message}; write a batch_size that {regime.shards} divides"
    if isinstance(regime, TradesRegime):
        yield from _trades(regime)
    if isinstance(regime, SRRegime):
        yield from _sparse(regime, model)
    if regime.adversary is not None:
        if regime.adversary.epsilon == 0:
            way_out = "leave both out" if regime.name == "sr" else "write regime: clean"
            yield "epsilon", f"an attack of epsilon 0 leaves images clean; {way_out}"
        for key, message in attack(regime.adversary.attack, model):
            yield f"attack.{key}", message


def _trades(regime: TradesRegime) -> Iterator[Misfit]:
    if regime.loss != "cross_entropy":
        message = "trades weighs cross entropy against a divergence; write loss: cross_entropy"
        yield "loss", message
    if regime.attack.loss != "cross_entropy":
        yield "attack.loss", "the inner attack of trades raises the divergence; leave 'loss' out"
    if regime.attack.draws != 1:
        yield "attack.draws", "the inner attack of trades takes one draw; leave 'draws' out"
    if regime.attack.restarts != 1:
        yield "attack.restarts", "the inner attack of trades starts once; leave 'restarts' out"


def _sparse(regime: SRRegime, model: Model) -> Iterator[Misfit]:
    if (regime.attack is None) != (regime.epsilon is None):
        absent = "attack" if regime.attack is None else "epsilon"
        yield absent, f"sr with an attack needs '{absent}' too; write both or neither"
    small = f"answers to images that differ by {regime.step}"
    if regime.precision == "bf16":
        message = f"sr compares {small}, which is less than bf16 resolves; write fp32 or tf32"
        yield "precision", message
    if model.encoder.name != "direct":
        message = f"sr compares {small}, which encoder '{model.encoder.name}' does not tell apart"
        yield "name", f"{message}; write encoder: direct, or another regime"
