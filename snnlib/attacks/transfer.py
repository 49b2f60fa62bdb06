"""Transfer: attack another network, and let this one be judged on the points (Papernot et al. 2016).

What such an attack finds needs no gradient of the network that is judged, so none can be masked
there: a network that falls to it more than to its own gradients hides them.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction

from torch import Tensor

from snnlib import noise
from snnlib.attacks import guards
from snnlib.attacks.apgd import lasting_apgd
from snnlib.attacks.gradient import Candidates, bim, fgsm, pgd, rfgsm
from snnlib.attacks.momentum import mifgsm, sapgd
from snnlib.classifier import SpikingClassifier, frozen
from snnlib.errors import SnnlibError
from snnlib.spec.attack import Attack, Member, SpikingSuite, Transfer
from snnlib.spec.suite import members

CLIMBS: dict[str, Callable[..., Candidates]] = {
    "fgsm": fgsm,
    "rfgsm": rfgsm,
    "bim": bim,
    "pgd": pgd,
    "mifgsm": mifgsm,
    "apgd": lasting_apgd,
    "sapgd": sapgd,
}
"""Attacks that can climb on a source."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Loaded(Transfer):
    """A transfer attack with the network that it climbs on.

    Attributes:
        network: the source.
        before_pass: called before each pass through it; what it raises ends the attack.
    """

    network: SpikingClassifier
    before_pass: Callable[[], object] | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class LoadedSuite(SpikingSuite):
    """A suite with the network that its transfer attacks climb on; attributes as of `Loaded`."""

    network: SpikingClassifier
    before_pass: Callable[[], object] | None = None


def armed_members(attack: Attack) -> tuple[Member, ...]:
    """The members of an attack; those that climb on another network come with it, if it is loaded."""
    chain = members(attack)
    if not isinstance(attack, LoadedSuite):
        return chain

    def armed(member: Transfer) -> Loaded:
        return Loaded(
            source=member.source,
            attack=member.attack,
            network=attack.network,
            before_pass=attack.before_pass,
        )

    return tuple(armed(one) if isinstance(one, Transfer) else one for one in chain)


def transfer(
    model: SpikingClassifier,
    origin: Tensor,
    labels_B: Tensor,
    *,
    attack: Transfer,
    epsilons: Sequence[Fraction],
    key: noise.Key,
) -> Candidates:
    """What the inner attack finds on its source; `model`, which is to be judged, is not asked.

    Samples whose gradient was zero are those of the source.

    Raises:
        SnnlibError: the attack comes without its network.
        GuardBroken: the inner attack changed the source.
        NotFinite: a logit or a gradient of the source is NaN or infinite.
    """
    del model
    if not isinstance(attack, Loaded):
        raise SnnlibError("a transfer attack needs its source's network: transfer.Loaded")
    inner, answer = attack.attack, None
    found = CLIMBS[inner.name](
        attack.network, origin, labels_B, attack=inner, epsilons=epsilons, key=key
    )
    while True:
        # not held over a yield: whoever judges may never ask for another point
        with _attacked(attack):
            try:
                candidate = found.send(answer)
            except StopIteration:
                return
        answer = yield candidate


@contextmanager
def _attacked(attack: Loaded) -> Iterator[None]:
    source, inner, look = attack.network, attack.attack, attack.before_pass
    hook = source.layers.register_forward_pre_hook(lambda *_: look() if look else None)
    try:
        with (
            frozen(source),
            guards.unchanged(source),
            guards.finite(source),
            source.surrogate(inner.surrogate),
            source.gradient(inner.gradient),
        ):
            yield
    finally:
        hook.remove()
