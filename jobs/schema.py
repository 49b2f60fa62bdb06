"""Columns of every table: names, types, units and keys, in one place."""

from jobs.columns import Column as Column
from jobs.columns import DType as DType
from jobs.columns import Table as Table
from jobs.columns import TableName as TableName

SCHEMA_VERSION = 2
"""Version of these tables; raised whenever a column changes its name, type or meaning."""

_TRAINING_ID = Column("training_id", "str", "", "trained network: 16 hex characters", "key")
_ATTACK_ID = Column("attack_id", "str", "", "attack and evaluation set: 16 hex characters", "key")
_RADIUS = (
    Column("epsilon_num", "int64", "", "numerator of the radius, lowest terms; 0 is clean", "key"),
    Column("epsilon_den", "int64", "", "denominator of the radius, lowest terms", "key"),
)
_EPSILON = Column("epsilon", "float64", "pixel range", "radius as a number")
_MODEL = Column("model_sha256", "str", "", "SHA-256 of the weights")
_SAMPLES = Column("samples_sha256", "str", "", "fingerprint of the ordered evaluation set")
_TOTAL = Column("total", "int64", "samples", "judged")
_FAITHFUL = Column(
    "faithful",
    "category",
    "",
    "published system (A, B) whose options all were used, faults included; null is ours",
    optional=True,
)
_LABEL = Column("label", "str", "", "name for people", "measured")
_ROOT = Column("root", "category", "", "run root it was read from", "measured")

SETTING = (
    Column("configuration", "str", "", "16 hex characters, equal for the seeds of one setting"),
    Column("dataset", "category", "", "dataset of training and evaluation"),
    Column("model", "category", "", "architecture"),
    Column("neuron", "category", "", "spiking neuron"),
    Column("training_gradient", "category", "", "rule of trace neurons", optional=True),
    Column("encoder", "category", "", "how an image becomes T inputs"),
    Column("time_steps", "int64", "steps", "T"),
    Column("regime", "category", "", "training regime"),
    Column("train_attack", "category", "", "attack of adversarial training", optional=True),
    Column("train_epsilon", "category", "", "its radius as a fraction, e.g. 8/255", optional=True),
    Column("train_epsilon_value", "float64", "pixel range", "its radius", optional=True),
    Column("seed", "int64", "", "training seed"),
)
"""What was trained, and how; the same columns in results and trainings."""

_MACHINE = (
    Column("attempt", "int64", "", "number of the attempt that made it", "measured", optional=True),
    Column("seconds", "float64", "s", "wall time", "measured", optional=True),
    Column("host", "category", "", "machine", "measured", optional=True),
    Column("device", "category", "", "cpu, or the GPU's name", "measured", optional=True),
    Column("threads", "int64", "threads", "CPU threads per process", "measured", optional=True),
    Column("world_size", "int64", "processes", "processes together", "measured", optional=True),
    Column("torch", "category", "", "version of torch", "measured", optional=True),
    Column("promise", "category", "", "how far a repetition agrees", "measured", optional=True),
)

_ATTACK = (
    Column("attack", "category", "", "attack; clean is none"),
    Column("steps", "int64", "steps", "gradient steps of a restart", optional=True),
    Column("step_size", "category", "", "length of a step: eps/4 or absolute", optional=True),
    Column("restarts", "int64", "", "independent starts", optional=True),
    Column("random_start", "bool", "", "starts at random in the ball", optional=True),
    Column("alpha", "category", "", "length of R-FGSM's random step", optional=True),
    Column("norm", "category", "", "norm of the perturbation", optional=True),
    Column("space", "category", "", "what is perturbed: pixel, repeated, encoded", optional=True),
    Column("clip", "bool", "", "perturbed input is kept in [0, 1]", optional=True),
    Column("loss", "category", "", "loss the attacker climbs", optional=True),
    Column("surrogate", "category", "", "attacker's surrogate gradient", optional=True),
    Column("gradient", "category", "", "attacker's gradient rule", optional=True),
    Column("draws", "int64", "draws", "of noise that a gradient is the mean of", optional=True),
    Column("source_attack", "category", "", "what climbs on a transfer's source", optional=True),
    Column("source_training_id", "str", "", "network that a transfer climbs on", optional=True),
    Column("source_sha256", "str", "", "SHA-256 of that network's weights", optional=True),
    Column("split", "category", "", "split of the dataset that is evaluated"),
    Column("samples", "int64", "samples", "how many were asked for; null is all", optional=True),
    Column("evaluation_seed", "int64", "", "seed of the attack's randomness"),
    Column("evaluation_draws", "int64", "draws", "of noise that a decision is the mean of"),
    Column(
        "attack_setting",
        "str",
        "",
        "16 hex characters, equal for sources of one setting",
        optional=True,
    ),
)

_BREAKS = (
    Column(
        "broken_by", "str", "samples", "of a suite, by member: apgd:120,square:3", optional=True
    ),
    Column("mean_linf", "float64", "pixel range", "maximum norm, mean of broken", optional=True),
    Column("mean_l2", "float64", "pixel range", "Euclidean norm, mean of broken", optional=True),
    Column("median_step", "float64", "steps", "taken to break, median of broken", optional=True),
    Column("max_step", "int64", "steps", "gradient steps or queries at most", optional=True),
)
"""Of broken samples; null where none is, nothing attacked them, or an older record does not say."""

RESULTS = Table(
    "results",
    (
        _TRAINING_ID,
        _ATTACK_ID,
        *_RADIUS,
        _EPSILON,
        _LABEL,
        _FAITHFUL,
        *SETTING,
        *_ATTACK,
        Column("correct", "int64", "samples", "still classified correctly"),
        _TOTAL,
        Column("zero_gradient", "int64", "samples", "input gradient exactly 0 in every step"),
        *_BREAKS,
        _MODEL,
        _SAMPLES,
        *_MACHINE,
        Column("batch", "int64", "samples", "attacked together", "measured", optional=True),
        Column("row_seconds", "float64", "s", "at this radius alone", "measured", optional=True),
        Column("code", "str", "", "hash of the code that attacked", "measured"),
        Column("record", "str", "", "file name of the record", "measured"),
        _ROOT,
    ),
)
"""One row for each (training, attack, epsilon)."""

CURVES = (
    Column("epoch_loss", "list[float64]", "", "mean training loss of each epoch", optional=True),
    Column("epoch_train_accuracy", "list[float64]", "share", "while it trained", optional=True),
    Column("epoch_validation_correct", "list[int64]", "samples", "right after it", optional=True),
    Column("epoch_validation_total", "list[int64]", "samples", "looked at after it", optional=True),
    Column("epoch_lr", "list[float64]", "", "learning rate at its end", optional=True),
    Column(
        "epoch_firing_rate",
        "list[float64]",
        "spikes per neuron and step",
        "mean over spiking layers; NaN if unknown",
        optional=True,
    ),
    Column("epoch_seconds", "list[float64]", "s", "wall time", "measured", optional=True),
)
"""One value for each epoch of a training, the first one first; null without a history."""

TRAININGS = Table(
    "trainings",
    (
        _TRAINING_ID,
        _LABEL,
        _FAITHFUL,
        *SETTING,
        Column("spec", "str", "", "whole specification as canonical JSON"),
        Column("start", "str", "", "training id or file it started from", optional=True),
        Column("nds", "str", "", "signature: training id/stage id, file or value", optional=True),
        _MODEL,
        Column("epochs", "int64", "epochs", "passes over the training split"),
        Column("steps", "int64", "steps", "optimiser steps"),
        Column("best_epoch", "int64", "", "epoch whose network was kept, from 0", optional=True),
        Column("validation_correct", "int64", "samples", "right on validation", optional=True),
        Column("validation_total", "int64", "samples", "size of validation", optional=True),
        Column("checkpoint", "str", "", "folder of the network that was kept", "measured"),
        *_MACHINE,
        Column("codes", "list[str]", "", "hashes of all code that trained it", "measured"),
        *CURVES,
        _ROOT,
    ),
)
"""One row for each finished training."""

ATTEMPTS = Table(
    "attempts",
    (
        _TRAINING_ID,
        Column("root", "str", "", "run root of the attempt", "key"),
        Column("number", "int64", "", "number of the attempt, from 1", "key"),
        _LABEL,
        _FAITHFUL,
        Column("state", "category", "", "as its files say; open while no end is written"),
        Column("reason", "str", "", "why it ended", "measured", optional=True),
        Column(
            "signature", "str", "", "equal for failures of one cause", "measured", optional=True
        ),
        Column("step", "int64", "steps", "optimiser step at its end", "measured", optional=True),
        Column(
            "started", "float64", "s since 1970 UTC", "time of the claim", "measured", optional=True
        ),
        Column(
            "ended", "float64", "s since 1970 UTC", "time of its end", "measured", optional=True
        ),
        Column("seconds", "float64", "s", "wall time", "measured", optional=True),
        Column("submission", "int64", "", "submission that sent it", "measured", optional=True),
        Column("task", "int64", "", "task of the submission", "measured", optional=True),
        Column("job_id", "str", "", "id of the job, e.g. 123_4", "measured", optional=True),
        Column("job_name", "str", "", "name of the job", "measured", optional=True),
        Column("host", "category", "", "machine", "measured", optional=True),
        Column("pid", "int64", "", "process that claimed it", "measured", optional=True),
        Column("code", "str", "", "hash of the code that ran", "measured", optional=True),
        Column("attacks", "list[str]", "", "attack ids it was to evaluate", "measured"),
        Column("resumed_from", "str", "", "checkpoint it went on from", "measured", optional=True),
        Column("processes", "int64", "processes", "of its job", "measured", optional=True),
        Column("gpus", "int64", "GPUs", "that its job held", "measured", optional=True),
    ),
)
"""One row for each attempt, finished or not; never compared between runs."""

SAMPLES = Table(
    "samples",
    (
        _TRAINING_ID,
        _ATTACK_ID,
        *_RADIUS,
        _EPSILON,
        _FAITHFUL,
        _MODEL,
        _SAMPLES,
        _TOTAL,
        Column(
            "mask",
            "bits",
            "",
            "a bit for each sample, the first the highest of the first byte: still correct",
        ),
        Column(
            "step",
            "numbers",
            "steps",
            "it took to break each sample that fell, in order: unsigned, little-endian, as many bytes each as fit",
            optional=True,
        ),
        Column(
            "member", "numbers", "", "of a suite, that broke it, from 0; as `step`", optional=True
        ),
    ),
)
"""One row for each row of `results`, with the outcome of every sample."""


def _slopes(side: str) -> tuple[Column, ...]:
    """Columns about the gradient at one side of a layer; the image has no input."""
    near = "gradient at most `threshold` of the sample's largest in this layer, 0 included"
    cosine = "between this step's gradient and another's, mean of `cosine_pairs`"
    pairs = "samples times other steps, where neither gradient is all zero"
    told: tuple[tuple[str, DType, str, str], ...] = (
        ("size", "int64", "values", f"{side} of one sample"),
        ("zero_share", "float64", "", "gradient exactly 0"),
        ("near_zero_share", "float64", "", near),
        ("l1", "float64", "", "sum of absolute values, mean of samples"),
        ("l2", "float64", "", "Euclidean norm, mean of samples"),
        ("cosine", "float64", "", cosine),
        ("cosine_pairs", "int64", "", pairs),
    )
    return tuple(
        Column(f"{side}_{name}", kind, unit, text, optional=side == "input" or name == "cosine")
        for name, kind, unit, text in told
    )


GRADIENTS = Table(
    "gradients",
    (
        _TRAINING_ID,
        Column("stage_id", "str", "", "what was asked for: 16 hex characters", "key"),
        Column(
            "layer",
            "category",
            "",
            "name in the network; encoder: from the image of each step to the network's input",
            "key",
        ),
        Column("step", "int64", "steps", "from 0; -1 for the image, which steps share", "key"),
        _FAITHFUL,
        Column("place", "int64", "", "of the layer in the network; the image is 0"),
        Column("kind", "category", "", "conv, linear, norm, pool, neuron, other, encoder, image"),
        *_slopes("output"),
        *_slopes("input"),
        Column("firing_rate", "float64", "spikes", "per neuron, mean of samples", optional=True),
        Column(
            "synops",
            "float64",
            "operations",
            "connections of inputs that are not 0 (of spikes behind traces), mean of samples",
            optional=True,
        ),
        Column("split", "category", "", "split of the dataset that was shown"),
        Column("samples", "int64", "samples", "asked for; null is all", optional=True),
        Column("total", "int64", "samples", "shown"),
        Column("loss", "category", "", "loss of each sample"),
        Column("threshold", "float64", "", "share of the largest gradient that is near zero"),
        _MODEL,
        _SAMPLES,
        *_MACHINE,
        Column("batch", "int64", "samples", "shown together", "measured", optional=True),
        _ROOT,
    ),
)
"""One row for each layer and step of a network whose gradients were tracked."""

AUDITS = Table(
    "audits",
    (
        _TRAINING_ID,
        Column("stage_id", "str", "", "what was asked for: 16 hex characters", "key"),
        Column("item", "category", "", "item of the masking checklist", "key"),
        _FAITHFUL,
        Column("verdict", "category", "", "on the network: pass, suspicious or fail"),
        Column("item_verdict", "category", "", "on this item alone; the worst is the network's"),
        Column("passed", "bool", "", "whether the item passed"),
        Column("value", "float64", "", "share of samples, or cosine, that was judged"),
        Column("threshold", "float64", "", "from where on it is suspicious"),
        Column("fail_threshold", "float64", "", "from where on it fails"),
        Column("text", "str", "", "what it means, in one sentence"),
        Column("epsilon", "float64", "pixel range", "radius at which it is worst", optional=True),
        *(
            Column(name, "int64", "samples", text, optional=True)
            for name, text in (
                ("judged", "withstand the judged attack"),
                ("other", "withstand the attack it is compared with"),
                ("found", "fooled by the other attack alone"),
                ("missed", "fooled by the judged attack alone"),
            )
        ),
        Column("total", "int64", "samples", "attacked"),
        Column("split", "category", "", "split of the dataset that was attacked"),
        *(
            Column(name, "category", "", f"{name} of the judged attacker")
            for name in ("loss", "surrogate", "gradient", "space")
        ),
        _MODEL,
        _SAMPLES,
        *_MACHINE,
        _ROOT,
    ),
)
"""One row for each item of the masking audit of a network."""

TABLES: dict[TableName, Table] = {
    t.name: t for t in (RESULTS, TRAININGS, ATTEMPTS, SAMPLES, GRADIENTS, AUDITS)
}
