"""Muon against torch.optim, SOAP against pytorch_optimizer and the authors' code as formulas."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import pytorch_optimizer
import torch
from parity import SHAPES, Transcribed, assert_parity, ident, options, parameters, train
from torch import Tensor
from torch.optim import _muon

import optimizers
from optimizers.rules.muon import orthogonalized

MATRICES = [(2, 3), (5, 3), (4, 4), (1, 6), (7, 1)]
JORDAN = (3.4445, -4.775, 2.0315)
Vector = Any  # a numpy array of any shape


@pytest.fixture
def full_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch's iteration in the weights' dtype: as written it runs in bfloat16 for float64 too."""

    def iterated(grad: Tensor, abc: tuple[float, float, float], steps: int, eps: float) -> Tensor:
        with monkeypatch.context() as patched:
            patched.setattr(Tensor, "bfloat16", Tensor.clone)
            return newton_schulz(grad, abc, steps, eps)

    newton_schulz = _muon._zeropower_via_newtonschulz
    monkeypatch.setattr(_muon, "_zeropower_via_newtonschulz", iterated)


MUON_OPTIONS = [
    {},
    *options(
        weight_decay=(0.0, 0.3),
        nesterov=(True, False),
        ns_steps=(5, 3),
        adjust_lr_fn=(None, "original", "match_rms_adamw"),
    ),
    {"momentum": 0.0},
    {"momentum": 0.5, "ns_coefficients": (2.0, -1.5, 0.5), "ns_steps": 10, "eps": 1e-3},
    {"eps": 100.0},
]


@pytest.mark.usefixtures("full_precision")
@pytest.mark.parametrize("chosen", MUON_OPTIONS, ids=ident)
def test_muon_of_matrices(chosen: dict[str, Any]) -> None:
    ours = optimizers.Muon(parameters(shapes=MATRICES), lr=0.02, **chosen)
    assert_parity(ours, torch.optim.Muon(parameters(shapes=MATRICES), lr=0.02, **chosen))


@pytest.mark.usefixtures("full_precision")
def test_muon_has_torchs_defaults_and_positional_arguments() -> None:
    every = (0.05, 0.01, 0.8, False, (2.0, -1.5, 0.5), 1e-3, 3, "match_rms_adamw")
    for arguments in ((), every):
        ours = optimizers.Muon(parameters(shapes=MATRICES), *arguments)
        assert_parity(ours, torch.optim.Muon(parameters(shapes=MATRICES), *arguments))


@pytest.mark.usefixtures("full_precision")
@pytest.mark.parametrize("ours_first", [True, False])
def test_a_muon_state_goes_over_to_torch_and_back(ours_first: bool) -> None:
    classes: list[Any] = [optimizers.Muon, torch.optim.Muon]
    first, second = classes if ours_first else classes[::-1]
    expected = torch.optim.Muon(parameters(shapes=MATRICES), lr=0.02, momentum=0.7)
    train(expected)
    before = first(parameters(shapes=MATRICES), lr=0.02, momentum=0.7)
    params = [torch.nn.Parameter(p.clone()) for p in train(before)]
    after = second(params, lr=1.0)
    after.load_state_dict(before.state_dict())
    assert_parity(after, expected)


@pytest.mark.parametrize("shape", [(64, 96), (96, 64)])
def test_the_iteration_of_float32_is_torchs_in_bfloat16(shape: tuple[int, int]) -> None:
    """A drop-in's differs from torch's by its norm's rounding, lanes' by as much as that errs."""
    x = torch.randn((1, *shape), generator=torch.Generator().manual_seed(0))
    alone = {"eps": 1e-7, **dict(zip(("ns_a", "ns_b", "ns_c"), JORDAN, strict=True))}
    lanes = {name: torch.full((1, 1, 1), value) for name, value in alone.items()}
    exact = orthogonalized(x.double(), alone, 5)
    assert 0.65 < torch.linalg.svdvals(exact).min() < torch.linalg.svdvals(exact).max() < 1.15
    theirs = _muon._zeropower_via_newtonschulz(x[0], JORDAN, 5, 1e-7).unsqueeze(0)
    assert distance(orthogonalized(x, alone, 5), theirs) < 0.01
    for found in (theirs, orthogonalized(x, lanes, 5)):
        assert 1e-3 < distance(found, exact) < 0.03


def distance(x: Tensor, y: Tensor) -> float:
    """The norm of the difference as a share of that of `y`."""
    return float(torch.linalg.vector_norm(x.double() - y) / torch.linalg.vector_norm(y.double()))


def test_lanes_have_their_own_newton_schulz_coefficients() -> None:
    x = torch.randn((2, 4, 6), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    rows = torch.tensor([[1e-7, *JORDAN], [1e-3, 2.0, -1.5, 0.5]], dtype=torch.float64)
    names = ("eps", "ns_a", "ns_b", "ns_c")
    together = dict(zip(names, rows.T.reshape(4, 2, 1, 1), strict=True))
    found = orthogonalized(x, together, 7)
    for lane, row in enumerate(rows.tolist()):
        own = dict(zip(names, row, strict=True))
        torch.testing.assert_close(found[lane], orthogonalized(x, own, 7)[lane], rtol=1e-12, atol=0)


@pytest.mark.usefixtures("full_precision")
@pytest.mark.parametrize("orthogonalize", [True, False])
def test_muon_of_other_weights_is_adamw_and_of_kernels_of_their_matrix(orthogonalize: bool) -> None:
    """Where `orthogonalize` is False all are AdamW's; else a kernel is [first, all others]."""
    chosen = {"lr": 0.02, "weight_decay": 0.3}
    adam = {"adam_lr": 0.01, "adam_betas": (0.8, 0.9), "adam_eps": 1e-4}
    ours = train(
        optimizers.Muon(parameters(), **chosen, **adam, orthogonalize=orthogonalize)  # type: ignore[arg-type]
    )
    adamw = torch.optim.AdamW(parameters(), lr=0.01, betas=(0.8, 0.9), eps=1e-4, weight_decay=0.3)
    muon = train_flat_kernels(chosen)
    for p, q, r in zip(ours, train(adamw), muon, strict=True):
        expected = r if orthogonalize and p.dim() > 1 else q
        torch.testing.assert_close(p, expected, rtol=1e-12, atol=1e-14)


def train_flat_kernels(chosen: dict[str, float]) -> list[Tensor]:
    """torch's Muon on each weight of SHAPES as a matrix, with the gradients that it would have."""
    flat = [torch.nn.Parameter(p.detach().reshape(*p.shape[:1] or (1,), -1)) for p in parameters()]
    optimizer = torch.optim.Muon(flat, **chosen)
    generator = torch.Generator().manual_seed(1)
    for _ in range(200):
        for p, shape in zip(flat, SHAPES, strict=True):
            noise = torch.randn(shape, generator=generator, dtype=p.dtype)
            p.grad = 0.3 * p.detach() + noise.reshape(p.shape)
        optimizer.step()
    return [p.detach().reshape(shape) for p, shape in zip(flat, SHAPES, strict=True)]


def test_a_schedule_scales_muons_both_rates() -> None:
    p = torch.nn.Parameter(torch.ones(3, dtype=torch.float64))
    muon = optimizers.Muon([p], lr=0.2, adam_lr=0.1, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(muon, lambda step: 0.5**step)
    for expected in (0.9, 0.85, 0.825):  # Adam's steps at a constant gradient are adam_lr long
        p.grad = torch.ones_like(p)
        muon.step()
        schedule.step()
        assert p.tolist() == pytest.approx([expected] * 3, rel=1e-9)


def turned(x: Vector, bases: dict[int, Vector], back: bool = False) -> Vector:
    for axis, q in bases.items():
        x = np.moveaxis(np.tensordot(x, q, axes=([axis], [1 if back else 0])), -1, axis)
    return x


def covariances(g: Vector, h: dict[str, Any]) -> dict[int, Vector]:
    """g g^T along each axis that has a basis."""
    found = {}
    for axis, size in enumerate(g.shape):
        if size <= h["max_precond_dim"] and (g.ndim > 1 or h["precondition_1d"]):
            rest = [other for other in range(g.ndim) if other != axis]
            found[axis] = np.tensordot(g, g, axes=(rest, rest))
    return found


def power_step(s: dict[str, Any]) -> None:
    """Algorithm 4, with the order of the columns as in soap.py."""
    for axis, gg in s["GG"].items():
        q = s["Q"][axis]
        order = np.argsort(-np.diag(q.T @ gg @ q))
        s["v"] = np.take(s["v"], order, axis=axis)
        s["Q"][axis] = np.linalg.qr(gg @ q[:, order])[0]


def soap_update(**given: Any) -> Callable[[Vector, Vector, dict[str, Any], int], Vector]:
    """Algorithm 3 with the details of the authors' soap.py, one weight at a time."""
    h = {**SOAP_DEFAULTS, **given}
    beta1, beta2 = h["betas"]
    beta = beta2 if h["shampoo_beta"] < 0 else h["shampoo_beta"]

    def update(p: Vector, g: Vector, s: dict[str, Any], t: int) -> Vector:
        gg, k = covariances(g, h), t - 1
        if k == 0:
            s["GG"] = {axis: (1 - beta) * x for axis, x in gg.items()}
            s["Q"] = {axis: np.linalg.eigh(x)[1][:, ::-1] for axis, x in s["GG"].items()}
            s["m"], s["v"] = np.zeros_like(g), np.zeros_like(g)
            return p
        s["m"] = beta1 * s["m"] + (1 - beta1) * g
        s["v"] = beta2 * s["v"] + (1 - beta2) * turned(g, s["Q"]) ** 2
        n = turned(turned(s["m"], s["Q"]) / (np.sqrt(s["v"]) + h["eps"]), s["Q"], back=True)
        if h["normalize_grads"]:
            n = n / np.sqrt(np.mean(n**2))
        rate = h["lr"]
        if h["correct_bias"]:
            rate *= np.sqrt(1 - beta2**k) / (1 - beta1**k)
        p = (p - rate * n) * (1 - h["lr"] * h["weight_decay"])
        s["GG"] = {axis: beta * s["GG"][axis] + (1 - beta) * x for axis, x in gg.items()}
        if k % h["precondition_frequency"] == 0:
            power_step(s)
        return p

    return update


SOAP_DEFAULTS: dict[str, Any] = {
    "lr": 3e-3,
    "betas": (0.95, 0.95),
    "shampoo_beta": -1,
    "eps": 1e-8,
    "weight_decay": 0.01,
    "precondition_frequency": 10,
    "max_precond_dim": 10000,
    "precondition_1d": False,
    "normalize_grads": False,
    "correct_bias": True,
}
SOAP_OPTIONS = [
    {},
    {"precondition_frequency": 1},
    {"precondition_frequency": 7, "betas": (0.9, 0.99), "shampoo_beta": 0.8, "eps": 1e-3},
    {"weight_decay": 0.5},
    {"precondition_1d": True},
    {"normalize_grads": True, "correct_bias": False},
    {"normalize_grads": True},
    {"correct_bias": False, "weight_decay": 0.0},
]
SOAP_SHAPES = [*SHAPES, (4, 5), (5, 4), (3, 2, 4)]


@pytest.mark.parametrize("chosen", SOAP_OPTIONS, ids=ident)
def test_soap_is_the_authors(chosen: dict[str, Any]) -> None:
    """On shapes whose covariances get full rank: else rounding would choose the eigenvectors."""
    ours = optimizers.SOAP(parameters(shapes=SOAP_SHAPES), **{"lr": 0.02, **chosen})
    theirs = Transcribed(parameters(shapes=SOAP_SHAPES), soap_update(**{"lr": 0.02, **chosen}))
    assert_parity(ours, theirs, rtol=1e-9)


def test_soap_has_the_authors_defaults() -> None:
    ours = optimizers.SOAP(parameters(shapes=SOAP_SHAPES))
    theirs = Transcribed(parameters(shapes=SOAP_SHAPES), soap_update())
    assert_parity(ours, theirs, rtol=1e-9)
    assert ours.defaults.items() >= SOAP_DEFAULTS.items()


def test_soap_turns_no_axis_that_is_too_long() -> None:
    shapes: list[tuple[int, ...]] = [(300, 2), (2, 300), (3, 2)]
    chosen = {"lr": 0.02, "max_precond_dim": 256}
    ours = optimizers.SOAP(parameters(shapes=shapes), **chosen)  # type: ignore[arg-type]
    assert_parity(ours, Transcribed(parameters(shapes=shapes), soap_update(**chosen)), rtol=1e-9)
    long = ours.state[ours.param_groups[0]["params"][0]]
    assert [long[name].numel() for name in ("GG0", "Q0", "GG1", "Q1", "GG2")] == [0, 0, 4, 4, 0]


def test_soap_leaves_a_fifth_axis_as_it_is() -> None:
    shape = (2, 2, 1, 2, 3)
    ours = optimizers.SOAP(parameters(shapes=[shape]), lr=0.02)
    (found,), state = train(ours), next(iter(ours.state.values()))
    assert found.shape == shape
    assert {name for name, value in state.items() if getattr(value, "shape", ()) == (2, 2)} == {
        f"{kind}{axis}" for kind in ("GG", "Q") for axis in (0, 1, 3)
    }


@pytest.mark.parametrize("chosen", SOAP_OPTIONS, ids=ident)
def test_soap_is_another_implementation_of_it(chosen: dict[str, Any]) -> None:
    """pytorch_optimizer's, whose QR runs in float32 and whose normalization adds eps."""
    names = {"normalize_grads": "normalize_gradient"}
    theirs = {names.get(name, name): value for name, value in chosen.items()}
    assert_parity(
        optimizers.SOAP(parameters(), **{"lr": 0.02, **chosen}),
        pytorch_optimizer.SOAP(parameters(), **{"lr": 0.02, **theirs}),
        rtol=1e-5,
    )


def test_a_lane_that_starts_ill_stays_ill_and_alone() -> None:
    """At the first update SOAP only looks, so a NaN there must not pass unseen."""
    shape = (4, 5)
    flat = torch.randn((3, 20), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = []
    for ill in (False, True):
        lanes = optimizers.LaneOptimizer(optimizers.RULES["soap"], flat.clone(), [shape], {})
        generator = torch.Generator().manual_seed(1)
        for step in range(25):
            grad = torch.randn(flat.shape, generator=generator, dtype=torch.float64)
            if ill and step == 0:
                grad[1, 7] = float("inf")
            lanes.step(grad)
        found.append(lanes.flat)
    assert torch.equal(found[0][[0, 2]], found[1][[0, 2]])
    assert found[1][1].isnan().all()
