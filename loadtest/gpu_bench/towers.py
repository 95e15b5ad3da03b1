"""The encoders' architectures at their real sizes, in plain torch.

The bench is to run where there is a GPU and PyTorch and nothing else: no hub, no transformers or one of
another version. Speed and precision depend on shapes, not on what was learned, so the towers are written
out here with random weights; a test holds their parameters and matrix FLOPs against transformers'.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (its usual name)

#: CLIP's activation is x sigmoid(1.702 x), an approximation of GELU (Hendrycks and Gimpel 2016).
QUICK_GELU = 1.702


@dataclass(frozen=True, slots=True)
class VitSize:
    """A picture tower. `class_token` and `pre_norm` as in CLIP; `pooling` by attention as in SigLIP."""

    image_px: int
    patch_px: int
    width: int
    layers: int
    heads: int
    mlp: int
    class_token: bool = False
    attention_pooling: bool = False
    projection: int = 0

    @property
    def tokens(self) -> int:
        """Tokens a picture, the class token included."""
        return (self.image_px // self.patch_px) ** 2 + self.class_token


@dataclass(frozen=True, slots=True)
class BertSize:
    """A text tower over rows of `tokens` real tokens (no padding, so no mask)."""

    vocabulary: int
    positions: int
    tokens: int
    width: int
    layers: int
    heads: int
    mlp: int
    types: int = 2


class Attention(nn.Module):
    """Multi-head self-attention over [B, L, D]; query, key and value are one product."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """[B, L, D] -> [B, L, D]."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # (B, h, L, d)
        return self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Block(nn.Module):
    """A transformer layer, norm first (vision) or last (BERT)."""

    def __init__(self, width: int, heads: int, mlp: int, *, activation: str, norm_first: bool) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.up, self.down = nn.Linear(width, mlp), nn.Linear(mlp, width)
        self.activation, self.norm_first = activation, norm_first

    def mlp(self, x: Tensor) -> Tensor:
        """[B, L, D] -> [B, L, D]."""
        if self.activation == "gelu_in_product":
            rows = torch._addmm_activation(self.up.bias, x.flatten(0, 1), self.up.weight.t(), use_gelu=True)
            return self.down(rows.unflatten(0, x.shape[:2]))  # (B * L, M) -> (B, L, M)
        return self.down(activate(self.up(x), self.activation))

    def forward(self, x: Tensor) -> Tensor:
        """[B, L, D] -> [B, L, D]."""
        if self.norm_first:
            x = x + self.attention(self.norm1(x))
            return x + self.mlp(self.norm2(x))
        x = self.norm1(x + self.attention(x))
        return self.norm2(x + self.mlp(x))


class Vit(nn.Module):
    """Normalised pixels [B, 3, S, S] -> [B, D]: SigLIP's or CLIP's picture tower."""

    def __init__(self, size: VitSize) -> None:
        super().__init__()
        self.size = size
        clip = size.class_token
        self.patch = nn.Conv2d(3, size.width, size.patch_px, stride=size.patch_px, bias=not clip)
        self.position = nn.Parameter(torch.zeros(size.tokens, size.width))
        if clip:
            self.first = nn.Parameter(torch.zeros(size.width))
            self.pre_norm = nn.LayerNorm(size.width)
        self.blocks = nn.ModuleList(
            Block(
                size.width,
                size.heads,
                size.mlp,
                activation="quick_gelu" if clip else "gelu_tanh",
                norm_first=True,
            )
            for _ in range(size.layers)
        )
        self.norm = nn.LayerNorm(size.width)
        if size.attention_pooling:
            self.pool = AttentionPooling(size)
        if size.projection:
            self.project = nn.Linear(size.width, size.projection, bias=False)

    def patches(self, pixels: Tensor) -> Tensor:
        """[B, 3, S, S] -> [B, patches, D]: the convolution as the product that it is.

        What a convolution gives has to be transposed, and every layer after it would work on the transposed
        memory: each norm a copy, each sum strided.
        """
        side, count = self.size.patch_px, self.size.image_px // self.size.patch_px
        grid = pixels.unflatten(3, (count, side)).unflatten(2, (count, side))  # (B, 3, n, p, n, p)
        rows = grid.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)  # (B, n * n, 3 * p * p)
        return F.linear(rows, self.patch.weight.flatten(1), self.patch.bias)

    def forward(self, pixels: Tensor) -> Tensor:
        """See the class."""
        x = self.stem(pixels)
        for block in self.blocks:
            x = block(x)
        return self.tail(x)

    def stem(self, pixels: Tensor) -> Tensor:
        """What stands before the layers: [B, 3, S, S] -> [B, L, D]."""
        x = self.patches(pixels)  # (B, patches, D)
        if self.size.class_token:
            x = torch.cat([self.first.expand(x.shape[0], 1, -1), x], dim=1)  # (B, L, D)
        x = x + self.position
        return self.pre_norm(x) if self.size.class_token else x

    def tail(self, x: Tensor) -> Tensor:
        """What stands after them: [B, L, D] -> [B, D]."""
        x = self.pool(self.norm(x)) if self.size.attention_pooling else self.norm(x[:, 0])
        return self.project(x) if self.size.projection else x


class AttentionPooling(nn.Module):
    """SigLIP's head: one learned query over all tokens, then a residual MLP. [B, L, D] -> [B, D]."""

    def __init__(self, size: VitSize) -> None:
        super().__init__()
        self.heads = size.heads
        self.probe = nn.Parameter(torch.zeros(1, 1, size.width))
        self.query = nn.Linear(size.width, size.width)
        self.key_value = nn.Linear(size.width, 2 * size.width)
        self.out = nn.Linear(size.width, size.width)
        self.norm = nn.LayerNorm(size.width)
        self.up, self.down = nn.Linear(size.width, size.mlp), nn.Linear(size.mlp, size.width)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        q = self.query(self.probe.expand(x.shape[0], -1, -1)).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        k, v = self.key_value(x).unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        pooled = self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))  # (B, 1, D)
        return (pooled + self.down(activate(self.up(self.norm(pooled)), "gelu_tanh")))[:, 0]


class Bert(nn.Module):
    """IDS int64 [B, L] -> [B, D]: BERT's layers, the mean over tokens."""

    def __init__(self, size: BertSize) -> None:
        super().__init__()
        self.word = nn.Embedding(size.vocabulary, size.width)
        self.position = nn.Embedding(size.positions, size.width)
        self.kind = nn.Embedding(size.types, size.width)
        self.norm = nn.LayerNorm(size.width)
        self.blocks = nn.ModuleList(
            Block(size.width, size.heads, size.mlp, activation="gelu", norm_first=False)
            for _ in range(size.layers)
        )

    def forward(self, ids: Tensor) -> Tensor:
        """See the class."""
        x = self.stem(ids)
        for block in self.blocks:
            x = block(x)
        return self.tail(x)

    def stem(self, ids: Tensor) -> Tensor:
        """What stands before the layers: [B, L] -> [B, L, D]."""
        return self.norm(self.word(ids) + self.position.weight[: ids.shape[1]] + self.kind.weight[0])

    def tail(self, x: Tensor) -> Tensor:
        """What stands after them: [B, L, D] -> [B, D]."""
        return x.mean(1)


@torch.no_grad()
def fuse_activations(module: nn.Module) -> bool:
    """Fewer passes over what is four times as wide as the tower; whether `module` has such layers.

    GELU goes inside the product before it, as cuBLASLt offers it: its formula is the tanh one, and for
    towers with the exact one parity tells what that costs. CLIP's x sigmoid(1.702 x) is
    silu(1.702 x) / 1.702: one kernel and not three once the factors are in the weights around it.
    """
    blocks = [m for m in module.modules() if isinstance(m, Block)]
    for block in blocks:
        if block.activation == "quick_gelu":
            block.up.weight *= QUICK_GELU
            block.up.bias *= QUICK_GELU
            block.down.weight /= QUICK_GELU
            block.activation = "silu"
        else:
            block.activation = "gelu_in_product"
    return bool(blocks)


def activate(x: Tensor, name: str) -> Tensor:
    """The activation called `name`: `gelu`, `gelu_tanh`, `silu`, or CLIP's `quick_gelu`."""
    if name == "quick_gelu":
        return x * torch.sigmoid(QUICK_GELU * x)
    if name == "silu":
        return F.silu(x)
    return F.gelu(x, approximate="tanh" if name == "gelu_tanh" else "none")


def randomise(module: nn.Module, seed: int) -> nn.Module:
    """Weights that carry their input on: N(0, 1 / fan-in), so that the vectors of two inputs differ.

    With the usual 0.02 a deep tower's output hardly depends on its input, and every parity passes.
    """
    device = next(module.parameters()).device
    generator = torch.Generator(device).manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if parameter.ndim >= 2:
                fan_in = parameter[0].numel() if parameter.ndim > 2 else parameter.shape[1]
                std = 1.0 if "word" in name or "position" in name else fan_in**-0.5
            elif name.endswith("bias"):
                std = 0.02
            else:
                continue
            parameter.copy_(torch.randn(parameter.shape, generator=generator, device=device) * std)
    return module.eval().requires_grad_(False)
