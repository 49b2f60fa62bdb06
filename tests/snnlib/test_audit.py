"""What an audit measures, on networks and masks small enough to count by hand."""

from dataclasses import replace
from fractions import Fraction

import pytest
import torch

from snnlib import audit
from snnlib.audit import Audit, Seen
from snnlib.classifier import SpikingClassifier
from snnlib.datasets import Batch
from snnlib.distributed import World
from snnlib.errors import NotFinite
from snnlib.spec.audit_attacks import attacks
from snnlib.spec.encoder import Phase, Poisson
from snnlib.spec.model import Small
from snnlib.spec.neuron import LIF, ReLU, SpikeNeuron
from snnlib.spec.stage import AuditStage
from tests.snnlib import networks

SHORT = AuditStage(steps=2, queries=3)
RADII = (Fraction(1, 16), Fraction(1, 4))


def spec(neuron: SpikeNeuron, encoder: object = None) -> Small:
    return Small(neuron=neuron, time_steps=3, **({"encoder": encoder} if encoder else {}))  # type: ignore[arg-type]


def seen(
    model: SpikingClassifier, batches: list[Batch], what: Small, stage: AuditStage = SHORT
) -> Seen:
    done = Audit(attacks=attacks(stage, what), epsilons=RADII, before_pass=lambda: None)
    return audit.merged(World.single(), audit.collect(model, batches, done))


def honest(batch: Batch, model: SpikingClassifier) -> Batch:
    """The same samples with the labels that the network gives them."""
    labels = model.predicted(batch.images_BCHW, "pixel")[0]
    return Batch(
        images_BCHW=batch.images_BCHW,
        labels_B=labels,
        samples_B=batch.samples_B,
        count=batch.count,
    )


def test_masks_become_pairs() -> None:
    true, false = True, False
    rows = {
        "clean": [[true, true, true, false]],
        "one_step": [[true, true, true, false], [false, false, true, false]],
        "steps": [[true, true, false, false], [true, false, true, false]],
        "longer": [[true, true, false, false], [false, false, true, false]],
        "restarts": [[true, true, false, false], [false, false, true, false]],
        "others": [[false, true, false, false], [false, false, true, false]],
        "range": [[false, false, true, false]],
        "noise": [[true] * 4, [true] * 4],
        "black_box": [[true, false, true, true], [false] * 4],
    }
    masks = {name: torch.tensor(mask) for name, mask in rows.items()}
    zero, cosine = torch.tensor([true, false, false, true]), torch.tensor([1.0, 0.5, 0.5, 0.0])
    found = audit.figures(Seen(correct=masks, zero_B=zero, cosine_B=cosine), RADII)
    gap, none = found.pairs["masking_gap"]
    assert (gap.judged, gap.other, gap.found, gap.missed) == (2, 1, 1, 0)
    assert (none.epsilon, none.found) == (RADII[1], 0)
    assert [(p.found, p.missed) for p in found.pairs["black_box"]] == [(1, 2), (1, 0)]
    assert [(p.found, p.missed) for p in found.pairs["rising"]] == [(0, 1), (0, 1), (1, 1)]
    assert [(p.found, p.missed) for p in found.pairs["steps"]] == [(0, 0), (1, 0)]
    assert (found.survivors, found.zero_gradient, found.pairs["eot"]) == (0, 2, ())
    assert (found.total, found.clean, found.cosine) == (4, 3, 0.5)


def test_batches_change_nothing() -> None:
    model, what = networks.small(neuron=ReLU()), spec(ReLU())
    whole = honest(networks.batch(6), model)
    parts = [networks.part(whole, 0, 3), networks.part(whole, 3, 6)]
    one, two = seen(model, [whole], what), seen(model, parts, what)
    assert audit.figures(one, RADII).pairs == audit.figures(two, RADII).pairs
    assert torch.allclose(one.cosine_B, two.cosine_B, atol=1e-4)


def test_an_audit_leaves_the_network_as_it_was_and_padding_out() -> None:
    model = networks.small(neuron=LIF())
    before = networks.state_hash(model)
    padded = Batch(**{**vars(networks.batch(3)), "count": 2})
    found = seen(model, [padded], spec(LIF()))
    assert networks.state_hash(model) == before
    sizes = {mask.shape[1] for mask in found.correct.values()}
    assert sizes | {len(found.zero_B), len(found.cosine_B)} == {2}


DONE = Audit(attacks=attacks(SHORT, spec(ReLU())), epsilons=RADII, before_pass=lambda: None)


@pytest.mark.parametrize("size", [1.0, 1e-12])
def test_differences_agree_with_the_gradient_of_a_linear_network(size: float) -> None:
    model, batch = networks.linear(), networks.batch(3, shape=(3, 2, 2), classes=5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(size)
    doubled = Batch(**{**vars(batch), "images_BCHW": batch.images_BCHW.double()})
    (found,) = audit.collect(model, [doubled], DONE)
    assert found.cosine_B.min() > 0.9  # the closest other class may change along the way


def test_a_gradient_that_is_no_number_is_not_compared() -> None:
    model, batch = networks.small(neuron=ReLU()), networks.batch(3)

    def watch(_layers: object, inputs: tuple[torch.Tensor]) -> None:
        if inputs[0].requires_grad:
            inputs[0].register_hook(lambda grad: grad * float("nan"))  # type: ignore[no-untyped-call]

    model.layers.register_forward_pre_hook(watch)
    with pytest.raises(NotFinite, match="sample 100 has a gradient that is NaN"):
        audit._cosines(model, batch, DONE)


def test_every_pass_can_end_an_audit() -> None:
    left = iter(range(9))

    def beat() -> None:
        if next(left, None) is None:
            raise InterruptedError

    done = Audit(attacks=attacks(SHORT, spec(ReLU())), epsilons=RADII, before_pass=beat)
    with pytest.raises(InterruptedError):
        audit.collect(networks.small(neuron=ReLU()), [networks.batch(2)], done)


def test_only_random_encoders_have_a_curve_over_draws() -> None:
    assert [a.draws for a in attacks(SHORT, spec(LIF(), Poisson())).draws] == [4, 16]
    assert attacks(SHORT, spec(LIF(), Phase())).draws == ()


def test_the_judged_attacker_is_as_asked_and_others_perturb_pixels() -> None:
    found = attacks(AuditStage(space="encoded", loss="margin"), spec(LIF(), Phase()))
    own = (found.one_step, found.steps, found.longer, found.restarts)
    assert {(a.space, a.loss) for a in own} == {("encoded", "margin")}
    assert (found.longer.steps, found.restarts.restarts) == (40, 1 + len(found.others))
    others = (*found.others, found.noise, found.black_box)
    assert {a.space for a in others} == {"pixel"}


def test_shares_of_ranks_come_together_in_the_order_of_the_split(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def share(first: int) -> Seen:
        numbers = torch.tensor([float(first), first + 1.0])
        return Seen(correct={"clean": numbers[None] > 2}, zero_B=numbers > 3, cosine_B=numbers)

    dealt = [[share(0), share(4)], [share(2)]]
    monkeypatch.setattr("snnlib.distributed.gather_objects", lambda *_: dealt)
    whole = audit.merged(replace(World.single(), size=2), dealt[0])
    assert whole.cosine_B.tolist() == [0, 1, 2, 3, 4, 5]
    assert whole.correct["clean"].tolist() == [[False] * 3 + [True] * 3]
    assert whole.zero_B.tolist() == [False] * 4 + [True] * 2
