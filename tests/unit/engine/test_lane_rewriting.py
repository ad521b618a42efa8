"""A traced step after its rewriting: the same numbers, in less memory, by fewer operations."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, fx
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn import functional

from sweeps.engines.lanes.reusing import reuse_memory
from sweeps.engines.lanes.rewriting import drop_no_ops, turn_products, turn_softmax

ATEN = torch.ops.aten
Step = Callable[[Tensor, Tensor], list[Tensor]]


REWRITES = (drop_no_ops, turn_products, turn_softmax, drop_no_ops, reuse_memory)


def traced(step: Step) -> fx.GraphModule:
    module = make_fx(step, None, "fake", _allow_non_fake_inputs=True)(*state())
    for rewrite in REWRITES:
        rewrite(module.graph)
    module.recompile()
    return module


def state() -> tuple[Tensor, Tensor]:
    numbers = torch.arange(24, dtype=torch.float64).reshape(4, 6)
    return numbers.sin(), numbers.cos()


def check(step: Step, tolerance: float = 0.0) -> fx.GraphModule:
    """Take three steps as they are and rewritten, and compare results and state."""
    module = traced(step)
    plain, own = state(), state()
    for _ in range(3):
        wanted, found = step(*plain), module(*own)
        for a, b in zip([*wanted, *plain], [*found, *own], strict=True):
            torch.testing.assert_close(b, a, rtol=tolerance, atol=tolerance, equal_nan=True)
    return module


def targets(module: fx.GraphModule) -> list[str]:
    return [str(n.target) for n in module.graph.nodes if n.op == "call_function"]


def test_a_buffer_is_updated_where_it_is() -> None:
    def step(p: Tensor, m: Tensor) -> list[Tensor]:
        moment = m.lerp(p * p, 0.1)
        new = p * 0.9 - moment / (moment.sqrt() + 1e-3) * 0.01
        p.copy_(new)
        m.copy_(moment)
        return [new.sum(1)]

    def guarded(p: Tensor, m: Tensor) -> list[Tensor]:
        return step(p, m.abs_())

    module = check(guarded)
    assert not any("copy_" in name for name in targets(module))
    made = [n for n in module.graph.nodes if n.op == "call_function" and "out" not in n.kwargs]
    fresh = [str(n.target) for n in made if n.meta["val"].shape == (4, 6)]
    assert fresh == ["aten.abs_.default", "aten.mul.Tensor"]  # and all else in their memory


def late_read(p: Tensor, _: Tensor) -> list[Tensor]:
    new = p * 2
    other = p + 1  # after `new` is made, before it is copied
    p.copy_(new)
    return [other]


def own_rows(p: Tensor, _: Tensor) -> list[Tensor]:
    new = p + p[:1]  # each row reads the first one
    p.copy_(new)
    return []


def returned(p: Tensor, _: Tensor) -> list[Tensor]:
    first = p * 2
    return [first, first + 1, first.view(6, 4)]


def view_kept(p: Tensor, _: Tensor) -> list[Tensor]:
    first = p * 2
    rows = first[1:3]
    return [rows, first.sin()]


def one_times(p: Tensor, m: Tensor) -> list[Tensor]:
    before = p * 1
    kept = m.clone()
    p.copy_(p + 1)
    m.mul_(0.5)
    return [before + p, kept - m]


def exchanged(p: Tensor, m: Tensor) -> list[Tensor]:
    old = p.clone()
    p.copy_(m * 1)
    m.copy_(old)
    return []


def twice(p: Tensor, m: Tensor) -> list[Tensor]:
    p.copy_(p * 0.5)
    first = p + m
    p.copy_(first * 0.5)
    return [first]


def copied_on(p: Tensor, _: Tensor) -> list[Tensor]:
    new = p * 0.5
    p.copy_(new)
    p.add_(1)
    return [new]


def turned(p: Tensor, m: Tensor) -> list[Tensor]:
    return [(p.t() * 2).t() + m, (p.t() + 1) * m.t()]


HELD = torch.arange(6, dtype=torch.float64) / 2


def constant(p: Tensor, _: Tensor) -> list[Tensor]:
    return [p * HELD.view(1, 6).sigmoid()]


def batched(p: Tensor) -> Tensor:
    return p.reshape(2, 2, 6)


def part_of_a_product(p: Tensor, m: Tensor) -> list[Tensor]:
    product = torch.bmm(batched(p).transpose(1, 2), batched(m)).transpose(1, 2)
    part = product[:, :4]
    other = torch.tanh(batched(m).sum()) + product * 2
    return [torch.cat([part.transpose(1, 2), other[:, :, 4:]], 2)]


def product_of_old_values(p: Tensor, m: Tensor) -> list[Tensor]:
    product = torch.bmm(batched(p).transpose(1, 2), batched(m))
    m.mul_(0.5)
    return [product.transpose(1, 2).clone(memory_format=torch.contiguous_format)]


def part_of_a_softmax(p: Tensor, m: Tensor) -> list[Tensor]:
    found = p.log_softmax(-1)
    part = found[:, :3]
    other = torch.sin(m) * 2
    return [part + 1, other, found.view(8, 3).sin()]


@pytest.mark.parametrize("step", [part_of_a_product, product_of_old_values, part_of_a_softmax])
def test_views_of_what_was_turned_are_seen(step: Step) -> None:
    check(step, 1e-14)


@pytest.mark.parametrize(
    "step",
    [
        constant,
        late_read,
        own_rows,
        returned,
        view_kept,
        one_times,
        exchanged,
        twice,
        copied_on,
        turned,
    ],
)
def test_what_is_still_read_is_not_written_over(step: Step) -> None:
    check(step)


def test_what_returns_its_input_is_taken_out() -> None:
    def step(p: Tensor, _: Tensor) -> list[Tensor]:
        same = (p * 2).detach().expand(4, 6).view(4, 6).clone() * 1
        return [same.sin()]

    assert targets(check(step)) == ["aten.mul.Tensor", "aten.sin.out"]


@pytest.mark.parametrize(("classes", "turns"), [(10, True), (33, False)])
def test_a_softmax_over_few_classes_is_turned(classes: int, turns: bool) -> None:
    torch.manual_seed(0)
    logits = torch.randn(5, 7, classes, dtype=torch.float64)
    target = torch.randint(classes, (5 * 7,))

    def step(x: Tensor) -> list[Tensor]:
        x = x.detach().requires_grad_()
        loss = functional.cross_entropy(x.view(-1, classes), target)
        three = x.log_softmax(-1).square().sum(-1)
        (grad,) = torch.autograd.grad(loss + three.mean(), x)
        return [loss.detach(), three.detach(), grad]

    module = make_fx(step, None, "fake", _allow_non_fake_inputs=True)(logits)
    turn_softmax(module.graph)
    module.recompile()
    axes = [
        node.args[1 if "backward" not in str(node.target) else 2]
        for node in module.graph.nodes
        if "log_softmax" in str(node.target)
    ]
    assert axes == ([0] * 4 if turns else [1, -1, -1, 1])
    for a, b in zip(step(logits), module(logits), strict=True):
        torch.testing.assert_close(b, a, rtol=1e-13, atol=1e-15)
        assert b.stride() == a.stride()


UNARY = [
    torch.sin,
    torch.neg,
    torch.detach,
    torch.clone,
    lambda x: x * 1,
    lambda x: x.view(4, 6),
    lambda x: x.log_softmax(-1),
    lambda x: x.reshape(6, 4).t() * HELD.view(1, 6),
    lambda x: (
        torch.bmm(batched(x).transpose(1, 2), batched(x)).transpose(1, 2)[:, :2].reshape(4, 6)
    ),
]
BINARY = [torch.add, torch.mul, torch.maximum, lambda x, y: x + y[:1], lambda x, y: x.lerp(y, 0.3)]
IN_PLACE = [lambda x, y: x.copy_(y), lambda x, y: x.mul_(y), lambda x, y: x[:2].copy_(y[2:])]
PLANS = st.lists(
    st.tuples(st.integers(0, 16), st.integers(0, 30), st.integers(0, 30)), min_size=1, max_size=14
)


@settings(max_examples=150, deadline=None)
@given(plan=PLANS, shown=st.lists(st.integers(0, 30), max_size=3))
def test_any_program_gives_the_same_numbers(
    plan: list[tuple[int, int, int]], shown: list[int]
) -> None:
    def step(p: Tensor, m: Tensor) -> list[Tensor]:
        made = [p, m]
        for kind, one, other in plan:
            x, y = made[-1 - one % len(made)], made[-1 - other % len(made)]
            if kind < 9:
                made.append(UNARY[kind](x))
            elif kind < 14:
                made.append(BINARY[kind - 9](x, y))
            else:
                IN_PLACE[kind - 14](x, y.clone())
        return [made[place % len(made)].clone() for place in shown]

    check(step, 1e-12)
