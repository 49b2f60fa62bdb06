"""Training, one optimiser step at a time, so that it can stop and go on at any of them."""

import copy
import math
import time
from dataclasses import asdict, dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from snnlib import activity, distributed, models, noise, optimisers, precision, transfer
from snnlib.augment import AUGMENTATIONS
from snnlib.batch_norm import Sharing
from snnlib.classifier import SpikingClassifier
from snnlib.datasets import Data
from snnlib.distributed import World
from snnlib.errors import NotFinite, SnnlibError
from snnlib.evaluate import attack_batch, batches, shard
from snnlib.losses import SUMMED
from snnlib.optimisers import OPTIMISERS, learning_rate
from snnlib.regimes import REGIMES, Objective, TrainingBatch, settle
from snnlib.spec.attack import AnyAttack, Clean
from snnlib.spec.neuron import TALIF
from snnlib.spec.training import CleanRegime, Regime, TrainingSpec

VALIDATION_BATCH = 100
"""Samples validated together, whatever the number of processes."""


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """One optimiser step: mean loss over the global batch, and its number of samples."""

    loss: float
    samples: int


@dataclass(frozen=True, kw_only=True)
class EpochMetrics:
    """One pass over the training split.

    Attributes:
        epoch: from 1.
        loss: mean over the epoch's samples, as trained on (attacked in adversarial regimes).
        train_accuracy: fraction correct, as trained on, each sample just before its step.
        validation_correct: validation samples correct; under the regime's attack, if it has one,
            unless `select` is `best_test`.
        validation_total: validation samples; 0 if none are kept.
        lr: learning rate of the last step.
        seconds: wall time of steps and validation in this process.
        firing_rates: spikes per neuron and time step of each spiking layer, on clean validation
            images; empty without any.
    """

    epoch: int
    loss: float
    train_accuracy: float
    validation_correct: int
    validation_total: int
    lr: float
    seconds: float
    firing_rates: dict[str, float]


@dataclass(kw_only=True)
class _Progress:
    """What a training has reached; the sums are those of the epoch under way."""

    step: int = 0
    epoch: int = 0
    loss_sum: float = 0.0
    correct: int = 0
    samples: int = 0
    seconds: float = 0.0
    best_epoch: int = 0
    best_correct: int = -1


class Piece(Protocol):
    """A validation of all processes, each at its own speed."""

    def look(self) -> object:
        """Called before each pass; what it raises ends the validation of this process."""

    def end_together(self) -> object:
        """Wait until every process has done its part; what it raises ends the validation."""


class _Objective(nn.Module):
    """A network whose call gives the objective; what is shared between processes is this call."""

    def __init__(self, module: SpikingClassifier) -> None:
        super().__init__()
        self.module = module

    def forward(self, regime: Regime, batch: TrainingBatch) -> Objective:
        return REGIMES[regime.name](self.module, regime, batch)


class Training:
    """A network being trained.

    Until `done`, call `finish_epoch` when `epoch_complete`, else `advance`. Every process of the
    world makes the same calls.

    Attributes:
        module: the network, unwrapped.
        is_best: whether the last finished epoch is the one to keep so far.
    """

    def __init__(
        self,
        spec: TrainingSpec,
        data: Data,
        *,
        world: World,
        start: dict[str, Tensor] | None = None,
        nds: dict[str, Tensor] | float | None = None,
    ) -> None:
        """Build the network and its optimiser.

        Args:
            spec: all that determines the result.
            data: the data set that `spec` names.
            world: processes that share each batch.
            start: weights to start from; random when None.
            nds: signature of TA-LIF layers, by layer or one value for all.

        Raises:
            SnnlibError: so many processes would train another network.
        """
        if obstacle := spec.obstacle(world.size):
            raise SnnlibError(obstacle)
        self.spec, self.world = spec, world
        self._train = data.train.to(world.device)
        on_test = spec.regime.select == "best_test"
        self._validation = (data.test if on_test else data.validation).to(world.device)
        self.module = models.build(
            spec.model, shape=data.shape, classes=data.classes, seed=spec.seed, nds=nds
        ).to(world.device)
        if start is not None:
            transfer.load(self.module, start)
        regime = spec.regime
        self._sharing = Sharing(self.module, world, regime.shards)
        self._optimiser = OPTIMISERS[regime.optimiser](
            self.module.parameters(), float(regime.lr), float(regime.weight_decay)
        )
        self._orders: dict[int, Tensor] = {}
        self._progress = _Progress()
        self.is_best = False

    @property
    def step(self) -> int:
        """Optimiser steps done."""
        return self._progress.step

    @property
    def epoch(self) -> int:
        """Epochs finished."""
        return self._progress.epoch

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps of one pass over the training split; the last batch may be short."""
        return -(-len(self._train) // self.spec.regime.batch_size)

    @property
    def total_steps(self) -> int:
        """Optimiser steps of the whole training."""
        return self.steps_per_epoch * self.spec.regime.epochs

    @property
    def epoch_complete(self) -> bool:
        """Whether the epoch under way has had all its steps and waits for `finish_epoch`."""
        return self.step == (self.epoch + 1) * self.steps_per_epoch

    @property
    def done(self) -> bool:
        """Whether every epoch is finished."""
        return self.epoch == self.spec.regime.epochs

    @property
    def best_epoch(self) -> int:
        """The epoch, from 1, whose network is kept so far; 0 before the first is finished."""
        return self._progress.best_epoch

    def advance(self) -> StepResult:
        """Do one optimiser step on the next global batch.

        Raises:
            NotFinite: the loss is NaN or infinite; all processes raise at the same step.
        """
        assert not self.done, "the training is done"
        assert not self.epoch_complete, "finish_epoch comes first"
        began = time.perf_counter()
        rows, weight, count = self._rows()
        for group in self._optimiser.param_groups:
            group["lr"] = self._lr(self.step)
        labels_B = self._train.labels_N[rows]
        objective = self._objective(rows, labels_B)
        regime = self.spec.regime
        loss = objective.loss_B.sum() * weight
        # DDP takes the mean over processes; the step wants the sum or mean over the global batch.
        share = self.world.size / (1 if regime.loss in SUMMED else count)
        with precision.products(regime.precision):
            torch.autograd.backward(loss * share)
        correct = (objective.logits_BK.detach().argmax(1) == labels_B).sum() * weight
        sums = distributed.total(self.world, torch.stack((loss.detach(), correct)))
        loss_sum, correct_sum = sums.tolist()
        if not math.isfinite(loss_sum):
            raise NotFinite(
                f"the loss became {loss_sum} in step {self.step + 1} of {self.total_steps} "
                f"(epoch {self.epoch + 1}); a smaller lr may help"
            )
        neuron = self.spec.model.neuron
        optimisers.step(
            self._optimiser,
            self.module,
            clip_grad_norm=regime.clip_grad_norm,
            weight_clip=regime.weight_clip,
            nds_decay=isinstance(neuron, TALIF) and neuron.nds_decay,
        )
        settle(self.module, regime)
        self._sharing.agree()
        progress = self._progress
        progress.step += 1
        progress.loss_sum += loss_sum
        progress.correct += round(correct_sum)
        progress.samples += count
        progress.seconds += time.perf_counter() - began
        return StepResult(loss=loss_sum / count, samples=count)

    def _order(self, epoch: int) -> Tensor:
        """The order of training samples in an epoch, computed once for each."""
        if self._orders.get(epoch) is None:
            self._orders = {epoch: noise.permutation(self.spec.seed, epoch, len(self._train))}
        return self._orders[epoch]

    def _rows(self) -> tuple[Tensor, float, int]:
        """This process's rows of the training split, their weight, and the global batch size."""
        size = self.spec.regime.batch_size
        begin = self.step % self.steps_per_epoch * size
        chosen = self._order(self.epoch)[begin : begin + size]
        own = self._sharing.take(chosen)
        if len(own):
            return own.to(self.world.device), 1.0, len(chosen)
        # A last batch smaller than the world: DDP still needs a backward pass from this process.
        return chosen[:1].to(self.world.device), 0.0, len(chosen)

    def _objective(self, rows: Tensor, labels_B: Tensor) -> Objective:
        seed, epoch = self.spec.seed, self.epoch
        samples_B = self._train.indices_N[rows]

        def key(stream: str) -> noise.Key:
            return noise.Key(seed=seed, stream=stream, samples_B=samples_B)

        augment = AUGMENTATIONS[self.spec.dataset.augment]
        images_BCHW = augment(self._train.images(rows), key("augment"), epoch)
        batch = TrainingBatch(
            images_BCHW=images_BCHW, labels_B=labels_B, key=key(f"training/{epoch}")
        )
        network = self._network  # made in evaluation mode
        self.module.train()
        objective: Objective = network(self.spec.regime, batch)
        return objective

    @cached_property
    def _network(self) -> nn.Module:
        """The network as a function to objectives, wrapped if several processes share batches."""
        objective = _Objective(self.module)
        if self.world.size == 1:
            return objective
        ids = [self.world.device.index] if self.world.device.type == "cuda" else None
        wrapped = DistributedDataParallel(objective, device_ids=ids)
        wrapped.broadcast_buffers = False  # they change alike everywhere, or `agree` brings them
        # DDP lays out its buckets anew after its first backward pass, which can change the order
        # of sums. One pass that counts for nothing gives fresh and resumed runs the same layout.
        wrapped.eval()
        batch = TrainingBatch(
            images_BCHW=self._train.images(slice(1)),
            labels_B=self._train.labels_N[:1],
            key=noise.Key(seed=0, stream="layout", samples_B=self._train.indices_N[:1]),
        )
        first: Objective = wrapped(CleanRegime(), batch)
        torch.autograd.backward(first.loss_B.sum())
        self._optimiser.zero_grad()
        return wrapped

    def _lr(self, step: int) -> float:
        return learning_rate(self.spec.regime, step, self.steps_per_epoch)

    def finish_epoch(self, piece: Piece | None = None) -> EpochMetrics:
        """Validate, and begin the next epoch.

        `is_best` tells afterwards whether this network is the one to keep: by `select`, the last
        or the best on the validation split (or on what stands in its place), the earliest of equals.

        Args:
            piece: by which processes wait for each other, or leave the validation together; the
                training is then as it was before. None to meet in a collective at once, which may
                give up on a process that is slow.
        """
        assert self.epoch_complete, "the epoch has steps left"
        began = time.perf_counter()
        progress = self._progress
        correct, rates = self._validated(piece)
        progress.epoch += 1
        self.is_best = self.spec.regime.select == "last" or correct > progress.best_correct
        if self.is_best:
            progress.best_epoch, progress.best_correct = progress.epoch, correct
        metrics = EpochMetrics(
            epoch=progress.epoch,
            loss=progress.loss_sum / progress.samples,
            train_accuracy=progress.correct / progress.samples,
            validation_correct=correct,
            validation_total=len(self._validation),
            lr=self._lr(self.step - 1),
            seconds=progress.seconds + time.perf_counter() - began,
            firing_rates=rates,
        )
        progress.loss_sum = progress.seconds = 0.0
        progress.correct = progress.samples = 0
        return metrics

    def _validated(self, piece: Piece | None = None) -> tuple[int, dict[str, float]]:
        """Validation samples correct, and firing rates on the clean ones, over all processes."""
        if not len(self._validation):
            return 0, {}
        regime = self.spec.regime
        ranges = batches(len(self._validation), VALIDATION_BATCH)
        own = shard(ranges, self.world.rank, self.world.size)

        def withstood(attack: AnyAttack, epsilon: Fraction) -> int:
            outcomes = (
                attack_batch(
                    self.module,
                    attack,
                    (epsilon,),
                    self._validation.batch(chosen, VALIDATION_BATCH),
                    seed=self.spec.seed,
                    before_pass=None if piece is None else piece.look,
                )
                for chosen in own
            )
            return sum(int(outcome.correct_EB.sum()) for outcome in outcomes)

        with activity.counting(self.module) as counts:
            correct = withstood(Clean(), Fraction(0))
        if regime.adversary is not None and regime.select != "best_test":
            correct = withstood(regime.adversary.attack, regime.adversary.epsilon)
        if piece is not None:
            piece.end_together()
        flat = torch.cat([torch.tensor([float(correct)]).double(), *counts.values()])
        sums = distributed.total(self.world, flat).tolist()
        rates = {
            name: spikes / neurons
            for name, spikes, neurons in zip(counts, sums[1::2], sums[2::2], strict=True)
        }
        return round(sums[0]), rates

    def state(self) -> dict[str, Any]:
        """All that a continuation needs, copied: tensors, numbers and text only."""
        return copy.deepcopy(
            {
                "model": self.module.state_dict(),
                "optimiser": self._optimiser.state_dict(),
                "progress": asdict(self._progress),
            }
        )

    def load(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken, with the same bits on a CPU with the same world size."""
        state = copy.deepcopy(state)
        self.module.load_state_dict(state["model"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._progress = _Progress(**state["progress"])

    def model_state(self) -> dict[str, Tensor]:
        """Parameters and buffers of the network, copied to the CPU."""
        return {
            name: tensor.detach().cpu().clone() for name, tensor in self.module.state_dict().items()
        }
