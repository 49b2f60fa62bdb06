"""Gradients that an attacker chose, through every kind of neuron."""

from decimal import Decimal
from typing import Any

import pytest
import torch
from torch import Tensor

from snnlib import neurons, noise, surrogates
from snnlib.neurons import attacked
from snnlib.spec.neuron import (
    ASSG,
    IF,
    LIF,
    PDSG,
    TALIF,
    ATan,
    AttackSurrogate,
    Neuron,
    ParametricLIF,
    SpikeNeuron,
    TraceLIF,
)
from tests.snnlib import networks

SPIKING = (IF(), IF(detach_reset=True), LIF(), LIF(detach_reset=True), ParametricLIF())
TRACES = (TraceLIF(), TALIF(tau_v=Decimal(3)))


def currents(steps: int = 6) -> Tensor:
    drawn = torch.randn(steps, 3, 2, 4, 4, generator=torch.Generator().manual_seed(4))
    return (drawn.double() + 0.6).requires_grad_()


def made(spec: Neuron, surrogate: AttackSurrogate | None = None) -> Any:
    node: Any = neurons.build(spec, ATan(), shape=(2, 4, 4), time_steps=6)
    if surrogate is not None:
        node.surrogate_function = surrogates.build(surrogate)
    return node.double()


def gradient(node: Any, current_TB: Tensor) -> tuple[Tensor, Tensor]:
    output_TB = node(current_TB)
    weights = torch.linspace(-1, 2, output_TB.numel(), dtype=torch.float64).view_as(output_TB)
    (found,) = torch.autograd.grad((output_TB * weights).sum(), current_TB)
    return output_TB.detach(), found


@pytest.mark.parametrize("spec", SPIKING, ids=repr)
def test_the_chosen_way_is_the_usual_one_for_a_usual_surrogate(spec: Neuron) -> None:
    usual, chosen = made(spec), made(spec)
    current_TB = currents()
    expected = gradient(usual, current_TB)
    chosen.multi_step_forward = lambda x_TB: attacked.spikes(chosen, x_TB)
    found = gradient(chosen, current_TB)
    assert torch.equal(found[0], expected[0])
    torch.testing.assert_close(found[1], expected[1])


@pytest.mark.parametrize("spec", SPIKING, ids=repr)
def test_bptr_passes_the_gradients_of_neurons_that_spiked(spec: Neuron) -> None:
    usual, rated = made(spec), made(spec)
    rated.gradient = "bptr"
    current_TB = (currents() - 0.8).detach().requires_grad_()
    spikes_TB, found = gradient(rated, current_TB)
    weights = torch.linspace(-1, 2, found.numel(), dtype=torch.float64).view_as(found)
    assert 0 < spikes_TB.any(0).double().mean() < 1
    assert torch.equal(spikes_TB, gradient(usual, current_TB)[0])
    assert torch.equal(found, weights * spikes_TB.any(0))


@pytest.mark.parametrize("spec", [*TRACES, TraceLIF(tau_s=Decimal(1))], ids=repr)
def test_bptr_of_traces_filters_and_gates(spec: Neuron) -> None:
    node, current_TB = made(spec), (currents() - 0.7).detach().requires_grad_()
    expected_TB = gradient(node, current_TB)[0]
    node.gradient = "bptr"
    trace_TB, found = gradient(node, current_TB)
    weights = torch.linspace(-1, 2, found.numel(), dtype=torch.float64).view_as(found)
    fired_B, g_B = trace_TB.ne(0).any(0), torch.zeros_like(weights[0])
    tau_s = node.constants.tau_s
    assert torch.equal(trace_TB, expected_TB)
    assert 0 < fired_B.double().mean() < 1
    for t in reversed(range(len(weights))):
        g_B = weights[t] / tau_s + (1 - 1 / tau_s) * g_B
        torch.testing.assert_close(found[t], g_B * fired_B)


@pytest.mark.parametrize("spec", [*SPIKING, *TRACES], ids=repr)
@pytest.mark.parametrize("surrogate", [PDSG(), ASSG()], ids=repr)
def test_a_sample_has_its_gradient_in_any_company(spec: Neuron, surrogate: AttackSurrogate) -> None:
    current_TB = currents()
    _, together = gradient(made(spec, surrogate), current_TB)
    weights = torch.linspace(-1, 2, together.numel(), dtype=torch.float64).view_as(together)
    alone_TB = current_TB[:, 1:2].detach().requires_grad_()
    total = (made(spec, surrogate)(alone_TB) * weights[:, 1:2]).sum()
    (alone,) = torch.autograd.grad(total, alone_TB)
    assert together.abs().sum() > 0
    torch.testing.assert_close(alone, together[:, 1:2])


@pytest.mark.parametrize("neuron", SPIKING, ids=repr)
@pytest.mark.parametrize("surrogate", [PDSG(), ASSG()], ids=repr)
def test_a_key_makes_attacks_repeatable(neuron: SpikeNeuron, surrogate: AttackSurrogate) -> None:
    model = networks.small(neuron=neuron)
    images = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(2))
    key = noise.Key(seed=0, stream="attack", samples_B=torch.arange(4))
    found = []
    with model.surrogate(surrogate):
        for _ in range(2):
            x = images.clone().requires_grad_()
            with model.keyed(key):
                found.append([torch.autograd.grad(model(x).max(1)[0].sum(), x)[0] for _ in "ab"])
    assert torch.equal(found[0][1], found[1][1])
    assert torch.equal(found[0][0], found[0][1]) == (surrogate == PDSG())
    assert found[0][0].count_nonzero() > 0
