"""Matrix FLOPs of the towers: what their matrix products must do, a multiply and an add counted as two.

Kaplan et al. 2020, "Scaling laws for neural language models", section 2.1, with the attention's own
products: a layer over L tokens of width D with an MLP of width M costs

    2 L (4 D² + 2 D M)      query, key, value, output; up, down
    4 L² D                  every query against every key, every weight against every value

Norms, activations, softmax and lookups are left out, as in every "model FLOPs utilisation" (Chowdhery et
al. 2022, "PaLM", appendix B): a rate from this is that of useful matrix work and cannot exceed the
card's matrix rate. `counted` asks torch's own counter, which a test and every run hold against this.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from resonance.loadtest.gpu_bench.htsat import HtsatSize
from resonance.loadtest.gpu_bench.towers import BertSize, VitSize


def layer_flops(tokens: int, width: int, mlp: int, attended: int | None = None) -> int:
    """Of one layer for one item; each token attends to `attended` tokens (default: to all)."""
    attended = tokens if attended is None else attended
    return 2 * tokens * (4 * width**2 + 2 * width * mlp) + 4 * tokens * attended * width


def vit_flops(size: VitSize) -> int:
    """Of one picture: patches, layers, pooling head, projection."""
    patches = (size.image_px // size.patch_px) ** 2
    total = 2 * patches * 3 * size.patch_px**2 * size.width
    total += size.layers * layer_flops(size.tokens, size.width, size.mlp)
    if size.attention_pooling:  # one query, keys and values of every token, an MLP on one vector
        total += 2 * (2 * size.width**2 + size.tokens * 2 * size.width**2 + 2 * size.width * size.mlp)
        total += 4 * size.tokens * size.width
    return total + 2 * size.width * size.projection


def bert_flops(size: BertSize) -> int:
    """Of one row."""
    return size.layers * layer_flops(size.tokens, size.width, size.mlp)


def htsat_flops(size: HtsatSize) -> int:
    """Of one clip: patches, windowed layers, merges between stages, projection."""
    side, width = size.side // size.patch, size.width
    total = 2 * side**2 * size.patch**2 * width
    for stage, depth in enumerate(size.depths):
        window = min(size.window, side)
        total += depth * layer_flops(side**2, width, 4 * width, window**2)
        if stage < len(size.depths) - 1:
            total += 2 * (side // 2) ** 2 * 4 * width * 2 * width
            side, width = side // 2, 2 * width
    return total + 2 * (width * size.projection + size.projection**2)


def counted(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> int:
    """Matrix FLOPs of `module(*inputs)` by torch's counter; on the device "meta" nothing is computed."""
    module.requires_grad_(False)  # its hooks stumble over views of parameters that want a gradient
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        module(*inputs)
    return int(counter.get_total_flops())


#: Of a tile of a matrix product, and how many of them an H200 works on at a time.
TILE_ROWS, TILE_COLUMNS, MULTIPROCESSORS = 128, 256, 132


def tiles_filled(rows: int, width: int, mlp: int) -> float:
    """Of one layer's four products with `rows` = B L: the useful share of all tiles of all their waves."""
    useful = computed = 0
    for columns, depth in ((3 * width, width), (width, width), (mlp, width), (width, mlp)):
        tiles = -(-rows // TILE_ROWS) * -(-columns // TILE_COLUMNS)
        waves = -(-tiles // MULTIPROCESSORS)
        useful += rows * columns * depth
        computed += waves * MULTIPROCESSORS * TILE_ROWS * TILE_COLUMNS * depth
    return useful / computed
