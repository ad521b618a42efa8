"""A GPT-2-like language model over characters."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from sweeps import Task
from sweeps.tasks.text import CHARACTERS, descriptions, encode

BLOCK = 32
WIDTH = 48


class CausalSelfAttention(nn.Module):
    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.c_attn = nn.Linear(width, 3 * width)
        self.c_proj = nn.Linear(width, width)
        self.resid_dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, width = x.size()
        q, k, v = (
            part.view(batch, length, self.heads, width // self.heads).transpose(1, 2)
            for part in self.c_attn(x).split(width, dim=2)
        )
        y = F.scaled_dot_product_attention(
            q, k, v, dropout_p=self.dropout if self.training else 0.0, is_causal=True
        )
        y = y.transpose(1, 2).contiguous().view(batch, length, width)
        return self.resid_dropout(self.c_proj(y))


class Block(nn.Module):
    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attn = CausalSelfAttention(width, heads, dropout)
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width),
            nn.GELU(approximate="tanh"),
            nn.Linear(4 * width, width),
            nn.Dropout(dropout),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class GPT(nn.Module):
    """Source: Radford et al. 2019; the head's weights are those of the embedding."""

    def __init__(self, depth: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.wte = nn.Embedding(len(CHARACTERS), WIDTH)
        self.wpe = nn.Embedding(BLOCK, WIDTH)
        self.drop = nn.Dropout(dropout)
        self.blocks = nn.ModuleList([Block(WIDTH, heads, dropout) for _ in range(depth)])
        self.ln_f = nn.LayerNorm(WIDTH)
        self.lm_head = nn.Linear(WIDTH, len(CHARACTERS), bias=False)
        self.lm_head.weight = self.wte.weight
        self.apply(self._init_weights)

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, mean=0.0, std=0.02)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)

    def forward(self, idx: Tensor) -> Tensor:
        positions = torch.arange(idx.size(1), device=idx.device)
        x = self.drop(self.wte(idx) + self.wpe(positions))
        for block in self.blocks:
            x = block(x)
        return self.lm_head(self.ln_f(x))


class Characters(Dataset):
    """Windows of a text, and the same windows one character later."""

    def __init__(self, text: str, stride: int) -> None:
        self.data, self.stride = encode(text), stride

    def __len__(self) -> int:
        return (len(self.data) - BLOCK - 1) // self.stride

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        start = index * self.stride
        window = self.data[start : start + BLOCK + 1]
        return window[:-1], window[1:]


def next_character_loss(output: Tensor, target: Tensor) -> Tensor:
    return F.cross_entropy(output.view(-1, output.size(-1)), target.reshape(-1))


def gpt() -> Task:
    """Two blocks with dropout, on the data set descriptions that scikit-learn ships."""
    text = "\n".join(descriptions().values())
    return Task(
        model=lambda: GPT(depth=2, heads=4, dropout=0.1),
        train=DataLoader(
            Characters(text[:12_000], BLOCK), batch_size=16, shuffle=True, drop_last=True
        ),
        valid=Characters(text[12_000:16_000], BLOCK),
        loss=next_character_loss,
        epochs=3,
        batch_size=16,
    )
