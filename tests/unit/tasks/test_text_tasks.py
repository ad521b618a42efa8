"""The character tasks: their text, its split, and models that look at the past only."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from studies import UserError
from sweeps import Task
from sweeps.tasks.text import CHARACTERS, TEST, VALID, char_lm, char_lstm, descriptions, encode
from sweeps.tasks.text_models import CharLSTM

FACTORIES = [char_lm, char_lstm]


def text(windows: Tensor) -> list[str]:
    return ["".join(CHARACTERS[code] for code in window) for window in windows.tolist()]


def windows(part: object) -> tuple[Tensor, Tensor]:
    assert isinstance(part, tuple)
    inputs, targets = part
    return inputs, targets


def test_characters_have_their_places() -> None:
    assert encode("\n A~").tolist() == [0, 1, 34, 95]
    assert encode("×\t").tolist() == [CHARACTERS.index("?")] * 2
    assert len(CHARACTERS) == len(set(CHARACTERS)) == 96


def test_each_description_is_in_one_set() -> None:
    texts = descriptions()
    assert {*VALID, *TEST} < texts.keys()
    assert set(VALID).isdisjoint(TEST)
    task = char_lm(context=32)
    sets = [windows(part)[0] for part in (task.train, task.valid, task.test)]
    held_out = {*VALID, *TEST}
    for own, names in zip(sets, (texts.keys() - held_out, VALID, TEST), strict=True):
        whole = "\n\n".join(encoded(texts[name]) for name in names)
        assert all(window in whole for window in text(own))
        used = own.numel() / sum(len(texts[name]) for name in names)
        assert 0.98 < used <= 1
    shares = [len(own) / sum(map(len, sets)) for own in sets]
    assert shares == pytest.approx([0.69, 0.155, 0.155], abs=0.03)


def encoded(words: str) -> str:
    return "".join(CHARACTERS[code] for code in encode(words).tolist())


def test_what_is_held_out_does_not_stand_in_the_training_text() -> None:
    """But for stock phrases: no run of 120 characters, and few windows of 32."""
    texts = {name: encoded(words) for name, words in descriptions().items()}
    trained = "\n\n".join(texts[name] for name in texts.keys() - {*VALID, *TEST})
    for name in (*VALID, *TEST):
        own = texts[name]
        assert not any(own[at : at + 120] in trained for at in range(0, len(own) - 120, 10))
    task = char_lm()
    for part in (task.valid, task.test):
        found = [window in trained for window in text(windows(part)[0])]
        assert sum(found) / len(found) < 0.05


@pytest.mark.parametrize("make", FACTORIES)
def test_a_target_is_the_character_after_its_input(make: Callable[..., Task]) -> None:
    inputs, targets = windows(make(context=50).train)
    assert inputs.shape == targets.shape
    assert inputs.shape[1] == 50
    assert torch.equal(inputs[:, 1:], targets[:, :-1])
    follows = inputs[1:, 0] == targets[:-1, -1]  # windows touch, but at the end of a text
    assert (~follows).sum() < len(descriptions())


@pytest.mark.parametrize("make", FACTORIES)
def test_the_untrained_loss_is_that_of_guessing(make: Callable[..., Task]) -> None:
    task = make()
    torch.manual_seed(0)
    inputs, targets = windows(task.valid)
    output = task.model()(inputs).detach()
    assert float(task.loss(output, targets)) == pytest.approx(math.log(96), rel=0.05)
    right = (output.argmax(1) == targets).double().mean()
    assert float(task.metrics["accuracy"](output, targets)) == pytest.approx(float(right), rel=1e-6)


@pytest.mark.parametrize("make", FACTORIES)
def test_a_prediction_depends_on_the_past_alone(make: Callable[..., Task]) -> None:
    torch.manual_seed(0)
    model = make(context=20).model().double()
    first = torch.randint(0, 96, (1, 20))
    other = first.clone()
    other[0, 12] = (first[0, 12] + 1) % 96
    changed = (model(first) - model(other)).abs().amax(dim=(0, 1))  # [T]
    assert changed[:12].max() == 0
    assert changed[12:].min() > 1e-12


def test_the_lstm_is_torchs() -> None:
    torch.manual_seed(0)
    ours = CharLSTM(96, 5, 7).double()
    its = nn.LSTM(5, 7, batch_first=True).double()
    with torch.no_grad():
        its.weight_ih_l0.copy_(ours.inputs.weight)
        its.bias_ih_l0.copy_(ours.inputs.bias)
        its.weight_hh_l0.copy_(ours.recurrent.weight)
        its.bias_hh_l0.zero_()
    codes = torch.randint(0, 96, (3, 11))
    states, _ = its(ours.characters(codes))
    torch.testing.assert_close(ours(codes), ours.head(states).mT, rtol=1e-12, atol=1e-12)
    assert ours.inputs.weight.abs().max() <= 7**-0.5


@pytest.mark.parametrize(
    ("context", "expected"),
    [
        (0, "context is 0, but the shortest text has "),
        (704, "context is 704, but the shortest text has 704 characters: give 1 to 703"),
    ],
)
def test_a_context_that_no_text_has_is_refused(context: int, expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        char_lm(context=context)
