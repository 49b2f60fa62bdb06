"""Neurons of traces: published arrays, hand-computed steps, fused against autograd of the plain."""

from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from snnlib import neurons, surrogates
from snnlib.errors import SnnlibError
from snnlib.neurons import fused, trace
from snnlib.neurons.trace import Adaptation, Constants
from snnlib.spec.neuron import HOSNN_SURROGATE, TALIF, ATan, Surrogate, TraceLIF

GOLDEN = Path(__file__).parent.parent / "data" / "spike_layer.npz"
STATE = {"f32": 1e-6, "f64": 1e-12}
GRADIENT = {"f32": 2e-5, "f64": 1e-12}
BOTH = pytest.mark.parametrize("how", [trace, fused], ids=["plain", "fused"])
CONSTANTS = Constants(tau_m=5.0, tau_s=3.0, v_threshold=1.0)


def golden_case(case: str, kind: str, dtype: str) -> tuple[dict[str, Tensor], Constants]:
    """Arrays by name, time first."""
    prefix = f"{case}/{kind}/{dtype}/"
    with np.load(GOLDEN, allow_pickle=False) as golden:
        arrays = {name: golden[f"{case}/{name}"] for name in ("input", "target", "grad_out")}
        arrays |= {k.removeprefix(prefix): golden[k] for k in golden if k.startswith(prefix)}
        arrays = {
            k: np.moveaxis(v, -1, 0) if v.shape[-1] in {5, 10} else v for k, v in arrays.items()
        }
        theta, (_, tau_m, tau_s, v) = golden[f"{case}/theta_v"], golden[f"{case}/hyper"]
    to = torch.float64 if dtype == "f64" else torch.float32
    tensors = {k: torch.from_numpy(v.copy()).to(to) for k, v in arrays.items()}
    tensors["theta"] = torch.from_numpy(theta.copy()).to(to)
    return tensors, Constants(tau_m=float(tau_m), tau_s=float(tau_s), v_threshold=float(v))


def near(found: Tensor, expected: Tensor, share: float) -> bool:
    """Whether the largest deviation is at most this share of the largest magnitude."""
    return bool((found - expected).abs().max() <= share * expected.abs().max())


@BOTH
@pytest.mark.parametrize("dtype", ["f32", "f64"])
@pytest.mark.parametrize("kind", ["LIF", "ALIF"])
@pytest.mark.parametrize("case", ["c0", "c1", "c2"])
def test_equals_the_published_layer(case: str, kind: str, dtype: str, how: Any) -> None:
    golden, constants = golden_case(case, kind, dtype)
    current, spike = golden["input"].requires_grad_(), surrogates.build(HOSNN_SURROGATE)
    theta = golden["theta"].requires_grad_()
    adaptation = Adaptation(theta, golden["target"]) if kind == "ALIF" else None
    found = how.tsslbp(current, constants, spike, adaptation, "batch")
    wanted = [current] if adaptation is None else [current, theta]
    grads = torch.autograd.grad(found, wanted, golden["grad_out"])
    assert torch.allclose(found, golden["psp"], rtol=0, atol=STATE[dtype])
    assert torch.allclose(found.mean(1), golden["psp_batchmean"], rtol=0, atol=STATE[dtype])
    assert near(grads[0], golden["grad_input"], GRADIENT[dtype])
    if adaptation is not None:
        assert near(grads[1], golden["grad_theta_v"], GRADIENT[dtype])


def membranes(
    how: ModuleType, current: Tensor, constants: Constants, adaptation: Adaptation | None
) -> Tensor:
    """Of the plain trajectory, or what the fused forward keeps for backward."""
    spike = surrogates.build(HOSNN_SURROGATE)
    if how is trace:
        return trace.trajectory(current, constants, spike, adaptation).membrane_TB
    out = fused.tsslbp(current.detach().requires_grad_(), constants, spike, adaptation)
    assert out.grad_fn is not None
    saved: Any = out.grad_fn.next_functions[0][0]
    membrane: Tensor = saved.saved_tensors[0]
    return membrane.view(current.shape)


@BOTH
@pytest.mark.parametrize("dtype", ["f32", "f64"])
@pytest.mark.parametrize("kind", ["LIF", "ALIF"])
@pytest.mark.parametrize("case", ["c0", "c1", "c2"])
def test_membranes_and_spikes_equal_the_published(
    case: str, kind: str, dtype: str, how: Any
) -> None:
    golden, constants = golden_case(case, kind, dtype)
    adaptation = Adaptation(golden["theta"], golden["target"]) if kind == "ALIF" else None
    membrane = membranes(how, golden["input"], constants, adaptation)
    assert torch.allclose(membrane, golden["mem"], rtol=0, atol=STATE[dtype])
    out = how.bptt(golden["input"], constants, surrogates.build(ATan()), adaptation)
    before = torch.cat([torch.zeros_like(out[:1]), out[:-1]])
    spikes = before + (out - before) * constants.tau_s  # a_t = a_{t-1} + (s_t - a_{t-1}) / tau_s
    assert torch.equal(spikes.round(), golden["spikes"])


@BOTH
@pytest.mark.parametrize("dtype", ["f32", "f64"])
@pytest.mark.parametrize("case", ["c0", "c1", "c2"])
def test_each_sample_s_share_of_the_published_theta_gradient(
    case: str, dtype: str, how: Any
) -> None:
    """What the published backward returns per sample: its error mean times the mean of -dI."""
    golden, constants = golden_case(case, "ALIF", dtype)
    current, spike = golden["input"].requires_grad_(), surrogates.build(HOSNN_SURROGATE)
    adaptation = Adaptation(golden["theta"], golden["target"])
    found = how.tsslbp(current, constants, spike, adaptation, "batch")
    (grad,) = torch.autograd.grad(found, current, golden["grad_out"])
    membrane = membranes(how, current.detach(), constants, adaptation)
    error_B = (membrane - golden["target"][:, None]).mean(0)
    assert torch.allclose(error_B, golden["error_mean"], rtol=0, atol=STATE[dtype])
    per_sample = 0.1 * -grad.mean((0, 1)) * error_B
    assert near(per_sample, golden["grad_theta_v_per_sample"], GRADIENT[dtype])


@BOTH
def test_lif_by_hand(how: Any) -> None:
    """u: .6, 1.08 (spike), 1 (no spike at the threshold itself), 1.3 (spike); tau_m 5, tau_s 2."""
    current = torch.tensor([0.6, 0.6, 1.0, 0.5], dtype=torch.float64)[:, None]
    constants = Constants(tau_m=5.0, tau_s=2.0, v_threshold=1.0)
    found = how.bptt(current, constants, surrogates.build(ATan()))
    assert found[:, 0].tolist() == [0, 0.5, 0.25, 0.625]


@BOTH
@pytest.mark.parametrize(
    ("currents", "thresholds", "traces"),
    [
        # u: .6, 1.48, 1.984, 3.5872, 4.86976: the threshold runs ahead
        ([0.6, 1.0, 0.8, 2.0, 2.0], [1.2, 1.84, 2.732, 4.4256, 6.76048], [0, 0, 0, 0, 0]),
        # u: -2, -3.6, -4.88, -5.904, -2: it falls below even these, and the last two spike
        ([-2.0] * 5, [-0.1, -2.0, -4.54, -7.592, -8.692], [0, 0, 0, 1 / 3, 5 / 9]),
    ],
)
def test_ta_lif_by_hand(
    currents: list[float], thresholds: list[float], traces: list[float], how: Any
) -> None:
    """theta 1/2, u* = .2, tau_m 5, tau_s 3: V_t = V_{t-1} + (u_t - .2) / 2."""
    current = torch.tensor(currents, dtype=torch.float64)[:, None, None]
    adaptation = Adaptation(current.new_full((1,), 0.5), current.new_full((5, 1), 0.2))
    spike = surrogates.build(ATan())
    found = trace.trajectory(current, CONSTANTS, spike, adaptation)
    assert found.threshold_TB.flatten().tolist() == pytest.approx(thresholds)
    output = how.bptt(current, CONSTANTS, spike, adaptation)
    assert output.flatten().tolist() == pytest.approx(traces)


def random_layer(
    shape: tuple[int, ...], dtype: torch.dtype, *, adapts: bool
) -> tuple[Tensor, Tensor, Adaptation | None]:
    """Current, gradient from above, and adaptation with some theta 0."""
    torch.manual_seed(sum(shape))
    current = (0.8 * torch.randn(shape, dtype=dtype) + 0.5).requires_grad_()
    if not adapts:
        return current, torch.randn(shape, dtype=dtype), None
    theta = torch.rand(shape[2:], dtype=dtype)
    theta = (theta * (theta > 0.3)).requires_grad_()
    nds = torch.rand((shape[0], *shape[2:]), dtype=dtype)
    return current, torch.randn(shape, dtype=dtype), Adaptation(theta, nds)


@pytest.mark.parametrize("surrogate", [HOSNN_SURROGATE, ATan()], ids=["sigmoid", "atan"])
@pytest.mark.parametrize("adapts", [False, True], ids=["lif", "ta_lif"])
@pytest.mark.parametrize("rule", ["bptt", "tsslbp"])
@pytest.mark.parametrize(
    ("dtype", "share"), [(torch.float32, 2e-5), (torch.float64, 1e-12)], ids=["f32", "f64"]
)
@pytest.mark.parametrize(
    "shape", [(1, 1), (2, 3, 4), (5, 1, 2, 3, 4), (5, 7, 6, 5), (10, 3, 2, 4, 4)], ids=str
)
def test_fused_equals_autograd_of_the_plain(
    shape: tuple[int, ...],
    dtype: torch.dtype,
    share: float,
    rule: str,
    adapts: bool,
    surrogate: Surrogate,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fused, "BLOCK", 10)  # several blocks, uneven ones among them
    current, grad_out, adaptation = random_layer(shape, dtype, adapts=adapts)
    wanted = [current] if adaptation is None else [current, adaptation.theta]
    known = (current, CONSTANTS, surrogates.build(surrogate), adaptation)
    plain, fast = (getattr(how, rule)(*known) for how in (trace, fused))
    expected = torch.autograd.grad(plain, wanted, grad_out)
    found = torch.autograd.grad(fast, wanted, grad_out)
    assert torch.allclose(fast, plain, rtol=0, atol=STATE["f64" if dtype.itemsize == 8 else "f32"])
    assert all(near(f, e, share) for f, e in zip(found, expected, strict=True))


def test_every_neuron_of_the_random_layers_matters() -> None:
    """They spike, adapt and stay silent: otherwise the comparison above would show little."""
    current, _, adaptation = random_layer((10, 3, 2, 4, 4), torch.float64, adapts=True)
    found = trace.trajectory(current, CONSTANTS, surrogates.build(ATan()), adaptation)
    assert 0.1 < found.spikes_TB.mean() < 0.9
    assert found.threshold_TB.min() < 0.5 < 2 < found.threshold_TB.max()


@BOTH
def test_gradient_at_the_threshold_itself(how: Any) -> None:
    """u_1 = V is no spike, so u_2 = .9 feels u_1: through its leak, its reset and its spike."""
    current = torch.tensor([[1.0], [0.1]], dtype=torch.float64, requires_grad=True)
    out = how.bptt(current, CONSTANTS, surrogates.build(ATan()))
    (found,) = torch.autograd.grad(out[1].sum(), current)
    h = surrogates.build(ATan()).derivative(torch.tensor([0.0, 0.9 - 1.0], dtype=torch.float64))
    kept = 1 - float(h[0])  # of u_1 after the reset, u_1 (1 - s_1), with u_1 = 1
    expected = float(h[1]) * 0.8 * kept / 3 + float(h[0]) * (2 / 3) / 3
    assert found[0].item() == pytest.approx(expected, rel=1e-12)


@BOTH
@pytest.mark.parametrize("rule", ["bptt", "tsslbp"])
@pytest.mark.parametrize("adapts", [False, True], ids=["lif", "ta_lif"])
def test_empty_batch(adapts: bool, rule: str, how: ModuleType) -> None:
    current, grad_out, adaptation = random_layer((5, 0, 4), torch.float64, adapts=adapts)
    out = getattr(how, rule)(current, CONSTANTS, surrogates.build(ATan()), adaptation)
    assert torch.autograd.grad(out, current, grad_out)[0].shape == out.shape == (5, 0, 4)


@pytest.mark.parametrize("rule", ["bptt", "tsslbp"])
@pytest.mark.parametrize(("of_current", "of_theta"), [(True, False), (False, True), (False, False)])
def test_only_the_gradients_asked_for(rule: str, of_current: bool, of_theta: bool) -> None:
    current, grad_out, adaptation = random_layer((5, 3, 4), torch.float64, adapts=True)
    assert adaptation is not None
    known = (CONSTANTS, surrogates.build(ATan()))
    whole = getattr(fused, rule)(current, *known, adaptation)
    expected = torch.autograd.grad(whole, [current, adaptation.theta], grad_out)
    inputs = [
        current.detach().requires_grad_(of_current),
        adaptation.theta.detach().requires_grad_(of_theta),
    ]
    partly = getattr(fused, rule)(inputs[0], *known, Adaptation(inputs[1], adaptation.nds_T))
    assert torch.equal(partly, whole)
    assert partly.requires_grad == (of_current or of_theta)
    if partly.requires_grad:
        partly.backward(grad_out)
    for found, correct in zip(inputs, expected, strict=True):
        assert (found.grad is not None) == found.requires_grad
        assert found.grad is None or torch.equal(found.grad, correct)


@BOTH
@pytest.mark.parametrize("rule", ["bptt", "tsslbp"])
@pytest.mark.parametrize("adapts", [False, True], ids=["lif", "ta_lif"])
@pytest.mark.parametrize("layout", ["permuted", "expanded in time", "sliced"])
def test_any_strides(layout: str, adapts: bool, rule: str, how: ModuleType) -> None:
    _, grad_out, adaptation = random_layer((5, 3, 4, 6), torch.float64, adapts=adapts)
    dense = torch.randn(5, 6, 4, 6, dtype=torch.float64) + 0.5
    current = {
        "permuted": dense.permute(0, 2, 1, 3)[:, :3, :4],
        "expanded in time": dense[0, :3].expand(5, 3, 4, 6),
        "sliced": dense[:, ::2],
    }[layout]
    grads = []
    for x in (
        current.detach().requires_grad_(),
        current.clone(memory_format=torch.contiguous_format).requires_grad_(),
    ):
        out = getattr(how, rule)(x, CONSTANTS, surrogates.build(ATan()), adaptation)
        grads.append((out, *torch.autograd.grad(out, x, grad_out[..., :1].expand_as(out))))
    assert all(torch.allclose(a, b, rtol=1e-12, atol=1e-14) for a, b in zip(*grads, strict=True))


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("spec", [TraceLIF(), TALIF(), TALIF(gradient="tsslbp")], ids=repr)
def test_calls_leave_no_state(spec: TraceLIF | TALIF, *, plain: bool) -> None:
    layer: Any = neurons.build(spec, HOSNN_SURROGATE, shape=(4,), time_steps=5)
    layer.plain = plain
    first, second = torch.randn(2, 5, 3, 4) + 1
    alone = layer(second)
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    layer(first)
    assert torch.equal(layer(second), alone)
    assert torch.equal(layer(second[:, :1]), alone[:, :1])
    assert all(torch.equal(value, before[name]) for name, value in layer.state_dict().items())


@pytest.mark.parametrize("tau_s", [1.0, 1.5, 3.0, 20.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("time_steps", [1, 5, 100])
def test_spike_counts_are_exact(time_steps: int, dtype: torch.dtype, tau_s: float) -> None:
    layer: Any = neurons.build(TraceLIF(tau_s=Decimal(str(tau_s))), HOSNN_SURROGATE)
    torch.manual_seed(time_steps)
    current = torch.randn(time_steps, 6, 50, dtype=dtype) + 0.4
    states = trace.trajectory(current, layer.constants, layer.surrogate_function)
    assert states.spikes_TB.sum() > 0
    assert layer.spike_counts(layer(current)).item() == states.spikes_TB.sum().item()


def test_gradient_and_surrogate_are_exchangeable() -> None:
    layer: Any = neurons.build(TraceLIF(), HOSNN_SURROGATE)
    current, grad_out, _ = random_layer((5, 3, 4), torch.float64, adapts=False)
    found = []
    for rule, surrogate in (
        ("bptt", HOSNN_SURROGATE),
        ("tsslbp", HOSNN_SURROGATE),
        ("bptt", ATan()),
    ):
        layer.gradient, layer.surrogate_function = rule, surrogates.build(surrogate)
        found.append(torch.autograd.grad(layer(current), current, grad_out)[0])
        expected = getattr(trace, rule)(current, CONSTANTS, layer.surrogate_function)
        assert near(found[-1], torch.autograd.grad(expected, current, grad_out)[0], 1e-12)
    assert not torch.allclose(found[0], found[1])
    assert not torch.allclose(found[0], found[2])


@pytest.mark.parametrize("shape", [(4, 3, 4), (5, 3, 5), (5, 3, 4, 1), (5, 3)])
def test_ta_lif_refuses_other_shapes(shape: tuple[int, ...]) -> None:
    layer = neurons.build(TALIF(), HOSNN_SURROGATE, shape=(4,), time_steps=5)
    with pytest.raises(
        SnnlibError, match=r"currents of \d steps .* its signature has 5 steps and neurons \[4\]"
    ):
        layer(torch.zeros(shape))
