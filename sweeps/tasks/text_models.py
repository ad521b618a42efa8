"""The character models: characters `[B, T]` to logits `[B, vocabulary, T]`, as losses want them.

They are written in operations that `torch.vmap` batches. Keys have no bias: the softmax subtracts
it again, so that its true gradient is zero, as of a bias before a norm.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class CausalTransformer(nn.Module):
    """A decoder with pre-norm blocks and learned positions, for texts of `context` characters.

    Source: Radford et al. 2019 (GPT-2), section 2.3; ReLU for GELU, no dropout, and a head of its
    own weights.
    """

    def __init__(
        self, vocabulary: int, context: int, heads: int, head_width: int, depth: int
    ) -> None:
        super().__init__()
        width = heads * head_width
        self.characters = nn.Embedding(vocabulary, width)
        self.positions = nn.Parameter(0.02 * torch.randn(context, width))
        nn.init.normal_(self.characters.weight, std=0.02)
        self.blocks = nn.ModuleList([_Block(width, heads) for _ in range(depth)])
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary, bias=False)

    def forward(self, text: Tensor) -> Tensor:
        x = self.characters(text) + self.positions
        past = x.new_full((text.shape[-1], text.shape[-1]), -math.inf).triu(1)
        for block in self.blocks:
            x = block(x, past)
        logits: Tensor = self.head(self.norm(x))
        return logits.mT


class _Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = _Attention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.ReLU(), nn.Linear(4 * width, width, bias=False)
        )

    def forward(self, x: Tensor, past: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x), past)
        mixed: Tensor = x + self.mlp(self.norm2(x))
        return mixed


class _Attention(nn.Module):
    """Self-attention, `[B, T, width]` to the same; `past` `[T, T]` is added to the scores."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.scale = heads, math.sqrt(heads / width)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor, past: Tensor) -> Tensor:
        q, k, v = (
            part.unflatten(-1, (self.heads, -1)).transpose(-3, -2)  # [B, heads, T, head width]
            for part in self.qkv(x).chunk(3, dim=-1)
        )
        scores = q * self.scale @ k.mT + past
        mixed = (scores.softmax(dim=-1) @ v).transpose(-3, -2).flatten(-2)
        out: Tensor = self.out(mixed)
        return out


class CharLSTM(nn.Module):
    """One layer of `nn.LSTM`, step by step; initial weights and gates as there, with one bias.

    Source: torch.nn.LSTM's documentation. cuDNN's and torch's own kernels, which it calls, are
    what `torch.vmap` cannot batch.
    """

    def __init__(self, vocabulary: int, embedding: int, hidden: int) -> None:
        super().__init__()
        self.characters = nn.Embedding(vocabulary, embedding)
        self.inputs = nn.Linear(embedding, 4 * hidden)
        self.recurrent = nn.Linear(hidden, 4 * hidden, bias=False)
        self.head = nn.Linear(hidden, vocabulary, bias=False)
        for weight in (*self.inputs.parameters(), *self.recurrent.parameters()):
            nn.init.uniform_(weight, -1 / math.sqrt(hidden), 1 / math.sqrt(hidden))

    def forward(self, text: Tensor) -> Tensor:
        steps = self.inputs(self.characters(text)).unbind(dim=-2)  # T of [B, 4 * hidden]
        hidden = cell = steps[0].new_zeros(steps[0].shape[0], self.recurrent.in_features)
        states = []
        for step in steps:
            enter, forget, candidate, show = (step + self.recurrent(hidden)).chunk(4, dim=-1)
            cell = forget.sigmoid() * cell + enter.sigmoid() * candidate.tanh()
            hidden = show.sigmoid() * cell.tanh()
            states.append(hidden)
        logits: Tensor = self.head(torch.stack(states, dim=-2))
        return logits.mT
