"""What each training regime lowers, one function for each.

A regime maps a batch to an objective: one loss per sample, whose mean or sum over the batch is
lowered. All forward passes of one objective share the key, so encoder noise and dropout are the
same in them and only the images differ. Inner attacks run in float32, whatever the precision.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from snnlib import noise, precision
from snnlib.attacks.inner import adversarial, divergent
from snnlib.classifier import SpikingClassifier
from snnlib.losses import TRAINING_LOSSES, divergence
from snnlib.response import Response
from snnlib.spec.attack import Space
from snnlib.spec.training import (
    AdversarialRegime,
    CleanRegime,
    RATRegime,
    Regime,
    RegimeName,
    SRRegime,
    TradesRegime,
)


@dataclass(frozen=True, kw_only=True)
class TrainingBatch:
    """A batch to learn from.

    Attributes:
        images_BCHW: augmented, unperturbed.
        labels_B: their classes.
        key: of the noise of network and attack.
    """

    images_BCHW: Tensor
    labels_B: Tensor
    key: noise.Key


@dataclass(frozen=True, kw_only=True)
class Objective:
    """What a regime makes of a batch.

    Attributes:
        loss_B: for each sample, differentiable in the parameters.
        logits_BK: of the images trained on: attacked ones if the regime attacks, but clean in TRADES.
    """

    loss_B: Tensor
    logits_BK: Tensor


def clean(module: SpikingClassifier, regime: CleanRegime, batch: TrainingBatch) -> Objective:
    """L(f(x), y)."""
    found = _response(module, regime, batch, batch.images_BCHW)
    return _plain(regime, found, batch)


def attacked(
    module: SpikingClassifier, regime: AdversarialRegime | RATRegime, batch: TrainingBatch
) -> Objective:
    """L(f(x'), y) with x' the attack's (Madry et al. 2018, eq. 2.1)."""
    z, space = _points(module, regime, batch)
    return _plain(regime, _response(module, regime, batch, z, space), batch)


def trades(module: SpikingClassifier, regime: TradesRegime, batch: TrainingBatch) -> Objective:
    """CE(f(x), y) + beta KL(f(x) || f(x')), x' where the attack finds KL largest.

    Source: Zhang et al. 2019, eq. 5 and algorithm 1; as in its code the gradient flows through
    both f(x) and f(x').
    """
    z = divergent(module, batch.images_BCHW, regime=regime, key=_attack_key(batch))
    natural = _response(module, regime, batch, batch.images_BCHW)
    moved = _response(module, regime, batch, z, regime.attack.space)
    plain = _plain(regime, natural, batch)
    apart_B = divergence(natural.logits, moved.logits)
    return replace(plain, loss_B=plain.loss_B + float(regime.beta) * apart_B)


def sparse(module: SpikingClassifier, regime: SRRegime, batch: TrainingBatch) -> Objective:
    """L(f(x), y) + coefficient q, with q = |p(x + h d) - p(x)| / h close to ||dp/dx||_1.

    d = sign(dp/dx), taken as a constant, h is `step`, and p = e^z_y / (e^z_y + e^z_m) the chance of
    the true class against the class m that is strongest besides it at x. q is squared on request.

    Source: Liu et al. 2024, arXiv 2405.20355 (the norm and its finite difference); p, h and the
    square are those of its code (gradient_reg_defense at 2e0fc36). x + h d is not clipped, as there.
    """
    z, space = _points(module, regime, batch)
    z = z.detach().requires_grad_()
    here = _response(module, regime, batch, z, space)
    rival_B = here.logits.detach().scatter(1, batch.labels_B[:, None], -torch.inf).argmax(1)
    chance_here_B = _chance(here, batch.labels_B, rival_B)
    (g,) = torch.autograd.grad(chance_here_B.sum(), z, retain_graph=True)
    step = float(regime.step)
    there = _response(module, regime, batch, z.detach() + step * g.sign(), space)
    quotient_B = (_chance(there, batch.labels_B, rival_B) - chance_here_B).abs() / step
    if regime.squared:
        quotient_B = quotient_B.square()
    plain = _plain(regime, here, batch)
    return replace(plain, loss_B=plain.loss_B + float(regime.coefficient) * quotient_B)


REGIMES: dict[RegimeName, Callable[[SpikingClassifier, Any, TrainingBatch], Objective]] = {
    "clean": clean,
    "adversarial": attacked,
    "trades": trades,
    "rat": attacked,
    "sr": sparse,
}
"""(network in training mode, its regime, a batch) to what is lowered."""


@torch.no_grad()
def settle(module: nn.Module, regime: Regime) -> None:
    """What a regime does to weights after each optimiser step: RAT draws them to orthogonal rows.

    W <- (1 + beta) W - beta W W^T W for the weights of convolutions and linear layers, one row for
    each output: a gradient step of length beta on ||W W^T - 1||_F^2 / 4. Singular values s become
    s (1 + beta (1 - s^2)): drawn to 1 as long as s^2 < 1 + 2/beta.

    Source: SNN-RAT (Ding et al. 2022), in the form of its code (d73f105); the step of Parseval
    networks (Cisse et al. 2017, algorithm 1). Both take a random part of the rows of wide layers to
    save time; here all rows count, so nothing is left to chance.
    """
    if not isinstance(regime, RATRegime):
        return
    beta = float(regime.beta)
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            rows = layer.weight.flatten(1)
            gram = rows @ rows.t()
            layer.weight.copy_(((1 + beta) * rows - beta * (gram @ rows)).view_as(layer.weight))


def _points(
    module: SpikingClassifier, regime: Regime, batch: TrainingBatch
) -> tuple[Tensor, Space]:
    """The images to train on, attacked if the regime attacks, and the space that they lie in."""
    if regime.adversary is None:
        return batch.images_BCHW, "pixel"
    z = adversarial(
        module,
        batch.images_BCHW,
        batch.labels_B,
        adversary=regime.adversary,
        key=_attack_key(batch),
    )
    return z, regime.adversary.attack.space


def _attack_key(batch: TrainingBatch) -> noise.Key:
    return replace(batch.key, stream=f"{batch.key.stream}/attack")


def _response(
    module: SpikingClassifier,
    regime: Regime,
    batch: TrainingBatch,
    z: Tensor,
    space: Space = "pixel",
) -> Response:
    with module.keyed(batch.key):
        return precision.response(module, z, space, regime.precision)


def _chance(response: Response, labels_B: Tensor, rival_B: Tensor) -> Tensor:
    """The softmax of two classes alone, [B]: that of the first."""
    pair_B2 = response.logits.gather(1, torch.stack((labels_B, rival_B), dim=1))
    return torch.sigmoid(pair_B2[:, 0] - pair_B2[:, 1])


def _plain(regime: Regime, response: Response, batch: TrainingBatch) -> Objective:
    loss_B = TRAINING_LOSSES[regime.loss](response, batch.labels_B)
    return Objective(loss_B=loss_B, logits_BK=response.logits)
