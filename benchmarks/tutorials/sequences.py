"""Recurrent networks by torch's own layers: an LSTM tagger and a GRU classifier."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from sweeps import Task

WORDS = 200
TAGS = 6
LENGTH = 20


class LSTMTagger(nn.Module):
    def __init__(self, embedding_dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(WORDS, embedding_dim)
        self.lstm = nn.LSTM(embedding_dim, hidden_dim, batch_first=True, bidirectional=True)
        self.hidden2tag = nn.Linear(2 * hidden_dim, TAGS)

    def forward(self, sentence: Tensor) -> Tensor:
        embeds = self.word_embeddings(sentence)
        lstm_out, _ = self.lstm(embeds)
        return self.hidden2tag(lstm_out)


def tagging_loss(output: Tensor, target: Tensor) -> Tensor:
    return F.cross_entropy(output.flatten(0, 1), target.flatten())


def tagging_accuracy(output: Tensor, target: Tensor) -> Tensor:
    return (output.argmax(dim=-1) == target).float().mean()


def lstm_tagger() -> Task:
    """A bidirectional nn.LSTM; a word's tag depends on the word before it."""

    def sentences(count: int, seed: int) -> TensorDataset:
        generator = torch.Generator().manual_seed(seed)
        words = torch.randint(WORDS, (count, LENGTH), generator=generator)
        return TensorDataset(words, (words + words.roll(1, dims=1)) % TAGS)

    return Task(
        model=lambda: LSTMTagger(32, 32),
        train=DataLoader(sentences(768, 1), batch_size=32, shuffle=True),
        valid=DataLoader(sentences(256, 2), batch_size=128),
        loss=tagging_loss,
        metrics={"accuracy": tagging_accuracy},
        epochs=8,
        batch_size=32,
    )


class GRUClassifier(nn.Module):
    def __init__(self, input_size: int, hidden_size: int, num_layers: int) -> None:
        super().__init__()
        self.num_layers, self.hidden_size = num_layers, hidden_size
        self.gru = nn.GRU(input_size, hidden_size, num_layers, batch_first=True)
        self.fc = nn.Linear(hidden_size, 2)

    def forward(self, x: Tensor) -> Tensor:
        h0 = torch.zeros(self.num_layers, x.size(0), self.hidden_size, device=x.device)
        out, _ = self.gru(x, h0.to(x.dtype))
        return self.fc(out[:, -1, :])


def gru_classifier() -> Task:
    """An nn.GRU of two layers tells slow from fast waves in noise."""

    def waves(count: int, seed: int) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(seed)
        fast = torch.randint(2, (count,), generator=generator)
        phase = 6.28 * torch.rand(count, 1, generator=generator)
        time = torch.arange(30) * (0.3 + 0.3 * fast).unsqueeze(1)
        noise = torch.randn(count, 30, generator=generator)
        return ((time + phase).sin() + noise).unsqueeze(-1), fast

    return Task(
        model=lambda: GRUClassifier(1, 32, 2),
        train=waves(768, 1),
        valid=waves(256, 2),
        loss=nn.CrossEntropyLoss(),
        epochs=2,
        batch_size=32,
    )
