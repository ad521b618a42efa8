"""Language models over single characters, on the data set descriptions that scikit-learn ships.

Whole descriptions are trained on, validated on or tested on: what two of them share are stock
phrases ("Number of Instances"). A text is cut into windows that do not overlap, and each
character's target is the one after it. The loss is the mean over characters, in nats; divided by
ln 2 it is in bits per character.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from studies.errors import UserError
from sweeps.tasks.scikit_learn import datasets_folder
from sweeps.tasks.task import Task

if TYPE_CHECKING:
    from torch import Tensor, nn

    Windows = tuple[Tensor, Tensor]

VALID = ("breast_cancer", "olivetti_faces")
TEST = ("diabetes", "lfw", "linnerud")
"""Descriptions by name; those in neither are trained on."""

CHARACTERS = "\n" + "".join(map(chr, range(32, 127)))
"""The vocabulary: line feed and printable ASCII. Every other character is read as a '?'."""


def char_lm(heads: int = 2, head_width: int = 8, depth: int = 2, context: int = 32) -> Task:
    """Next character of 30,000 characters of prose, by a small causal transformer."""
    from sweeps.tasks.text_models import CausalTransformer

    return _language(
        lambda: CausalTransformer(len(CHARACTERS), context, heads, head_width, depth), context
    )


def char_lstm(hidden: int = 32, embedding: int = 16, context: int = 32) -> Task:
    """The same text, by an LSTM that is written in plain tensor operations."""
    from sweeps.tasks.text_models import CharLSTM

    return _language(lambda: CharLSTM(len(CHARACTERS), embedding, hidden), context)


def encode(text: str) -> Tensor:
    """Return the places of a text's characters in `CHARACTERS`, `[len(text)]`."""
    import torch

    place = {character: index for index, character in enumerate(CHARACTERS)}
    return torch.tensor([place.get(character, place["?"]) for character in text])


def _language(model: Callable[[], nn.Module], context: int) -> Task:
    import torch.nn.functional as F

    from sweeps.tasks.data import accuracy

    texts = descriptions()
    held_out = {*VALID, *TEST}
    return Task(
        model=model,
        train=_windows([text for name, text in texts.items() if name not in held_out], context),
        valid=_windows([texts[name] for name in VALID], context),
        test=_windows([texts[name] for name in TEST], context),
        loss=F.cross_entropy,
        metrics={"accuracy": accuracy},
        epochs=20,
        batch_size=8,
    )


def descriptions() -> dict[str, str]:
    """Return the text of each data set description in scikit-learn, sorted by name."""
    files = sorted((datasets_folder() / "descr").glob("*.rst"), key=lambda file: file.stem)
    return {file.stem: file.read_text(encoding="utf-8") for file in files}


def _windows(texts: list[str], context: int) -> Windows:
    """Return inputs and targets `[N, context]`; what is left at the end of a text is not used."""
    import torch

    shortest = min(map(len, texts))
    if not 1 <= context < shortest:
        raise UserError(
            f"context is {context}, but the shortest text has {shortest} characters: give 1 to "
            f"{shortest - 1}"
        )
    inputs, targets = [], []
    for text in texts:
        codes = encode(text)
        count = (len(codes) - 1) // context
        inputs.append(codes[: count * context].view(count, context))
        targets.append(codes[1 : count * context + 1].view(count, context))
    return torch.cat(inputs), torch.cat(targets)
