"""A miniature GPT: nested blocks, an output weight tied to the embedding, both kinds of buffer."""

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (PyTorch's own convention)


class Attention(nn.Module):
    """Multi-head self-attention with one projection for queries, keys and values."""

    def __init__(self, d_model: int, heads: int) -> None:
        """Build the two projections."""
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(d_model, 3 * d_model)
        self.proj = nn.Linear(d_model, d_model)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Map [B, T, d_model] to the same shape; `mask` [T, T] is True where a token may look."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        heads = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        out: Tensor = self.proj(heads.transpose(1, 2).flatten(2))
        return out


class Block(nn.Module):
    """A pre-norm transformer block."""

    def __init__(self, d_model: int, heads: int) -> None:
        """Build attention and MLP, each behind a layer norm."""
        super().__init__()
        self.ln1 = nn.LayerNorm(d_model)
        self.attn = Attention(d_model, heads)
        self.ln2 = nn.LayerNorm(d_model)
        self.mlp = nn.Sequential(
            OrderedDict(
                fc=nn.Linear(d_model, 4 * d_model),
                gelu=nn.GELU(),
                proj=nn.Linear(4 * d_model, d_model),
            )
        )

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Map [B, T, d_model] to the same shape."""
        x = x + self.attn(self.ln1(x), mask)
        out: Tensor = x + self.mlp(self.ln2(x))
        return out


class TinyGPT(nn.Module):
    """A decoder-only language model."""

    mask: Tensor
    positions: Tensor

    def __init__(
        self,
        *,
        vocab: int = 128,
        d_model: int = 32,
        layers: int = 4,
        heads: int = 4,
        context: int = 16,
    ) -> None:
        """Build the model; any device context, `meta` included, is honoured."""
        super().__init__()
        self.embed = nn.Embedding(vocab, d_model)
        self.pos = nn.Embedding(context, d_model)
        self.blocks = nn.ModuleList(Block(d_model, heads) for _ in range(layers))
        self.ln_f = nn.LayerNorm(d_model)
        self.lm_head = nn.Linear(d_model, vocab, bias=False)
        self.lm_head.weight = self.embed.weight
        self.register_buffer("mask", torch.ones(context, context, dtype=torch.bool).tril())
        self.register_buffer("positions", torch.arange(context), persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map int64 tokens [B, T], T at most `context`, to logits [B, T, vocab]."""
        length = tokens.shape[1]
        x = self.embed(tokens) + self.pos(self.positions[:length])
        for block in self.blocks:
            x = block(x, self.mask[:length, :length])
        logits: Tensor = self.lm_head(self.ln_f(x))
        return logits
