"""SWA and EMA: against torch.optim.swa_utils in training, over lanes, and on a model."""

from __future__ import annotations

import copy
import io
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import swa_utils

from optimizers.averaging import AVERAGES, EMA, EMA_WARMUP, SWA, Average
from optimizers.weight_average import LaneAverages, WeightAverage

TOTAL = 60


def number(x: float) -> Tensor:
    return torch.tensor(float(x), dtype=torch.float64)


def numbers(kind: Average, **given: float) -> dict[str, Tensor]:
    return {name: number(given.get(name, h.default)) for name, h in kind.hypers.items()}


def network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    layers = (nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 1))
    return nn.Sequential(*layers).double()


def batches() -> list[Tensor]:
    generator = torch.Generator().manual_seed(5)
    return [torch.randn(16, 3, generator=generator, dtype=torch.float64) for _ in range(4)]


def train(model: nn.Module, steps: int, first: int = 0) -> Any:
    """Yield after each real training step the number of steps done."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for step in range(first, first + steps):
        x = batches()[step % 4]
        optimizer.zero_grad()
        (model(x) - x.sum(1, keepdim=True).sin()).square().mean().backward()
        optimizer.step()
        yield step + 1


def assert_average(found: WeightAverage, theirs: swa_utils.AveragedModel) -> None:
    for name, p in theirs.module.named_parameters():
        torch.testing.assert_close(found.average[name], p.detach(), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(("frequency", "taken"), [(1, 16), (4, 4), (1000, 1)])
def test_swa_is_torchs_equal_mean(frequency: int, taken: int) -> None:
    model = network()
    ours = WeightAverage(model, "swa", TOTAL, frequency=frequency)
    theirs = swa_utils.AveragedModel(model)
    for step in train(model, TOTAL):
        ours.update()
        if step >= 45 and (step - 45) % frequency == 0:
            theirs.update_parameters(model)
            assert_average(ours, theirs)
    assert ours.averaged == int(theirs.n_averaged) == taken


@pytest.mark.parametrize("start", [0.0, 0.5])
@pytest.mark.parametrize("decay", [0.999, 0.7, 0.0])
def test_ema_is_torchs(decay: float, start: float) -> None:
    model = network()
    ours = WeightAverage(model, "ema", TOTAL, decay=decay, start=start)
    function = swa_utils.get_ema_multi_avg_fn(decay)
    theirs = swa_utils.AveragedModel(model, multi_avg_fn=function)
    for step in train(model, TOTAL):
        ours.update()
        if step >= start * TOTAL:
            theirs.update_parameters(model)
            assert_average(ours, theirs)


def test_ema_warmup_follows_the_weights_at_first() -> None:
    h = numbers(EMA_WARMUP, decay=0.9)
    shares = [
        float(EMA_WARMUP.weight(number(n + 1), number(99), number(n), h)) for n in (0, 1, 8, 79, 99)
    ]
    assert shares == pytest.approx([1, 9 / 11, 9 / 18, 0.1 + 1 / 890, 0.1], abs=2e-3)
    assert float(EMA.weight(number(2), number(99), number(1), h)) == pytest.approx(0.1)


@pytest.mark.parametrize(("anneal", "length"), [(0.1, 10), (0.0, 0)])
def test_swa_lr_is_torchs_swalr_after_any_schedule(anneal: float, length: int) -> None:
    h = numbers(SWA, start=0.4, swa_lr=0.05, anneal=anneal)
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=2.0)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.99)
    expected = []
    for step in range(100):
        if step == 40:
            annealed = swa_utils.SWALR(optimizer, swa_lr=2.0 * 0.05, anneal_epochs=length)
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        (schedule if step < 40 else annealed).step()
    t = torch.arange(100, dtype=torch.float64)
    factors = SWA.lr_factor(t, number(100), h, lambda t: 0.99**t)
    assert (2.0 * factors).tolist() == pytest.approx(expected, rel=1e-12)


def test_ema_leaves_the_schedule_alone() -> None:
    t = torch.arange(9, dtype=torch.float64)
    factors = EMA.lr_factor(t, number(9), numbers(EMA), lambda t: 0.9**t)
    assert torch.equal(factors, 0.9**t)


def lane_sets(kind: Average) -> list[dict[str, float]]:
    return [
        {
            name: float(round(1 + 3 * u)) if h.integer else h.low + u * (h.high - h.low)
            for name, h in kind.hypers.items()
        }
        for u in (0.1, 0.5, 0.9)
    ]


def walk(lanes: int, steps: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(3)
    flat = torch.randn(lanes, 7, generator=generator, dtype=torch.float64)
    found = []
    for _ in range(steps):
        flat = flat + 0.1 * torch.randn(lanes, 7, generator=generator, dtype=torch.float64)
        found.append(flat)
    return found


def alone(kind: Average, total: int, hypers: dict[str, float], path: list[Tensor]) -> Tensor:
    model = nn.Module()
    model.weight = nn.Parameter(torch.zeros_like(path[0]))
    average = WeightAverage(model, kind, total, **hypers)
    for weights in path:
        model.weight.data.copy_(weights)
        average.update()
    return average.average["weight"]


@pytest.mark.parametrize("name", AVERAGES)
def test_vector_equals_scalar(name: str) -> None:
    kind, sets, totals = AVERAGES[name], lane_sets(AVERAGES[name]), [40, 30, 35]
    columns = {n: torch.tensor([s[n] for s in sets], dtype=torch.float64) for n in sets[0]}
    path = walk(3, 40)
    lanes = LaneAverages([kind] * 3, path[0], torch.tensor(totals), columns)
    for step, flat in enumerate(path):
        lanes.update(flat, torch.tensor([step < total for total in totals]))
    for lane, (total, hypers) in enumerate(zip(totals, sets, strict=True)):
        expected = alone(kind, total, hypers, [flat[lane] for flat in path[:total]])
        found = lanes.weights(path[-1])[lane]
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)
        assert not torch.equal(found, path[-1][lane])


def test_lanes_of_several_kinds_one_ill_one_refilled_and_then_fewer() -> None:
    path, kinds = walk(4, 40), [SWA, None, EMA, EMA]
    decay = torch.full((4,), 0.8, dtype=torch.float64)
    lanes = LaneAverages(kinds, path[0], torch.full((4,), 40), {"decay": decay})
    for step, flat in enumerate(path):
        flat = flat.clone()
        if step == 9:
            flat[2] = float("nan")
        if step == 10:
            assert lanes.weights(flat)[2].isnan().all()
            lanes.reset(2, SWA, 30, {"start": 0.5})
        lanes.update(flat)
    weights = lanes.weights(path[-1])
    assert torch.equal(weights[1], path[-1][1])
    for lane, kind, first, hypers in (
        (0, SWA, 0, {}),
        (2, SWA, 10, {"start": 0.5}),
        (3, EMA, 0, {"decay": 0.8}),
    ):
        expected = alone(kind, 40 - first, hypers, [flat[lane] for flat in path[first:]])
        torch.testing.assert_close(weights[lane], expected, rtol=1e-12, atol=1e-14)
    saved = lanes.state_dict()
    other = LaneAverages([SWA, None, SWA, EMA], path[0], torch.full((4,), 9), {})
    other.load_state_dict({**saved, "hypers": {n: saved["hypers"][n] for n in other.hypers}})
    assert torch.equal(other.weights(path[-1]), weights)
    lanes.compact([3, 0])
    assert torch.equal(lanes.weights(path[-1][[3, 0]]), weights[[3, 0]])
    lanes.update(path[-1][[3, 0]])
    assert lanes.steps.tolist() == [41, 41]


def averaged_network() -> tuple[nn.Sequential, WeightAverage]:
    model = network()
    average = WeightAverage(model, "ema", TOTAL, decay=0.9)
    for _ in train(model, TOTAL):
        average.update()
    return model, average


def test_applied_swaps_weights_and_statistics_and_puts_them_back() -> None:
    model, average = averaged_network()
    before = copy.deepcopy(model.state_dict())
    average.update_bn(batches())
    assert_same_state(model, before)
    theirs = copy.deepcopy(model)
    theirs.load_state_dict({**before, **average.average})
    swa_utils.update_bn(batches(), theirs)

    def evaluation_that_fails() -> None:
        assert_same_state(model, theirs.state_dict())
        model(batches()[0])  # in training mode: its statistics move
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), average.applied():
        evaluation_that_fails()
    assert_same_state(model, before)


def assert_same_state(model: nn.Module, expected: dict[str, Tensor]) -> None:
    for name, x in model.state_dict().items():
        torch.testing.assert_close(x, expected[name], rtol=0, atol=0, msg=name)


def test_update_bn_within_applied_and_its_end_with_the_next_update() -> None:
    model, average = averaged_network()
    raw = model[1].running_mean.clone()
    with average.applied():
        assert torch.equal(model[1].running_mean, raw)
        average.update_bn(batches())
        fresh = model[1].running_mean.clone()
        assert not torch.equal(fresh, raw)
        with average.applied():
            assert torch.equal(model[1].running_mean, fresh)
    assert torch.equal(model[1].running_mean, raw)
    with average.applied():
        assert torch.equal(model[1].running_mean, fresh)
    average.update()
    with average.applied():
        assert torch.equal(model[1].running_mean, raw)


def test_a_loader_that_fails_leaves_the_model_as_it_was() -> None:
    model, average = averaged_network()
    model[1].eval()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(RuntimeError):
        average.update_bn([*batches(), torch.zeros(2, 99, dtype=torch.float64)])
    assert_same_state(model, before)
    assert model[1].momentum == 0.1
    assert [module.training for module in model] == [True, False, True, True]


def test_the_raw_weights_until_something_is_averaged() -> None:
    model = network()
    average = WeightAverage(model, "swa", TOTAL)
    for _ in train(model, 20):
        average.update()
    weight = model[0].weight.detach().clone()
    average.update_bn(batches())
    with average.applied():
        assert torch.equal(model[0].weight, weight)
    assert torch.equal(average.average["0.weight"], weight)


def test_goes_on_from_a_saved_state() -> None:
    straight_model, restarted_model = network(), network()
    straight = WeightAverage(straight_model, "ema", TOTAL, decay=0.9, start=0.1)
    for _ in train(straight_model, TOTAL):
        straight.update()
    first = WeightAverage(restarted_model, "ema", TOTAL, decay=0.9, start=0.1)
    for _ in train(restarted_model, 30):
        first.update()
    first.update_bn(batches())
    stream = io.BytesIO()
    torch.save(first.state_dict(), stream)
    stream.seek(0)
    second = WeightAverage(restarted_model, "ema", 1)
    second.load_state_dict(torch.load(stream, weights_only=True))
    with first.applied():
        expected = restarted_model[1].running_var.clone()
    with second.applied():
        assert torch.equal(restarted_model[1].running_var, expected)
    for _ in train(restarted_model, 30, first=30):
        second.update()
    assert second.averaged == straight.averaged
    for name, x in straight.average.items():
        assert torch.equal(second.average[name], x)


def test_low_precision_weights_are_averaged_in_float32() -> None:
    model = nn.Linear(3, 1, dtype=torch.bfloat16)
    average = WeightAverage(model, "swa", 1000, start=0.0)
    with torch.no_grad():
        for step in range(1000):
            model.weight.fill_(float(step % 2))
            average.update()
    assert average.average["weight"].tolist() == [pytest.approx([0.5] * 3, abs=1e-3)]
    with average.applied():
        assert model.weight.dtype is torch.bfloat16
        assert model.weight.tolist() == [[0.5] * 3]


@pytest.mark.parametrize(
    ("arguments", "hypers", "message"),
    [
        (("emma", 10), {}, "average 'emma' is unknown; did you mean 'ema'"),
        (("ema", 10), {"decay": 1.0}, r"decay = 1.0 is invalid; it must lie in \[0, 1\)"),
        (("ema", 10), {"swa_lr": 0.1}, "ema has no hyperparameter 'swa_lr'"),
        (("swa", 10), {"frequency": 1.5}, "frequency = 1.5 is invalid; it must be a whole number"),
        (("swa", 0), {}, "total_steps = 0 is invalid"),
    ],
)
def test_a_wrong_argument_is_refused(
    arguments: tuple[str, int], hypers: dict[str, float], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        WeightAverage(network(), *arguments, **hypers)


def test_what_does_not_fit_is_refused() -> None:
    model, average = averaged_network()
    with pytest.raises(ValueError, match="kind = 'ema' in the loaded state, here it is 'swa'"):
        WeightAverage(model, "swa", TOTAL).load_state_dict(average.state_dict())
    with pytest.raises(ValueError, match="a model with other parameters"):
        WeightAverage(nn.Linear(2, 2), "ema", TOTAL).load_state_dict(average.state_dict())
    with average.applied(), pytest.raises(RuntimeError, match=r"update\(\) within applied\(\)"):
        average.update()


@pytest.mark.parametrize("name", AVERAGES)
def test_a_registered_average_names_its_source(name: str) -> None:
    kind = AVERAGES[name]
    assert kind.name == name
    assert "arXiv" in kind.paper or "1992" in kind.paper
    assert "=" in (kind.__doc__ or "")
    for knob, hyper in kind.hypers.items():
        for value in (hyper.default, hyper.low, hyper.high):
            hyper.check(knob, value)


def test_misuse_of_lane_averages_is_refused_and_changes_nothing() -> None:
    flat = torch.zeros(2, 3)
    total = torch.full((2,), 10.0)
    swa, ema = AVERAGES["swa"], AVERAGES["ema"]
    with pytest.raises(ValueError, match="1 kinds for 2 lanes; give one a lane"):
        LaneAverages([swa], flat, total, {})
    with pytest.raises(ValueError, match=r"no average of these lanes has a knob 'decya'. Known: "):
        LaneAverages([swa, ema], flat, total, {"decya": torch.ones(2)})
    averages = LaneAverages([swa, ema], flat, total, {})
    with pytest.raises(ValueError, match="ema has no hyperparameter 'swa_lr'"):
        averages.reset(0, ema, 10, {"swa_lr": 0.5})
    assert averages.kinds == [swa, ema]
    averages.update(flat)
    for lanes in ([], [0, 0], [-1]):
        with pytest.raises(ValueError, match=r"give lanes of 0\.\.1, each at most once"):
            averages.compact(lanes)
    with pytest.raises(ValueError, match=r"kinds = \['swa', 'ema'\] in the loaded state, here"):
        LaneAverages([ema, ema], flat, total, {}).load_state_dict(averages.state_dict())
