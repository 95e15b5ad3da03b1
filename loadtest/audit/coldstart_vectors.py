"""Held-out titles as vectors, complete and as uploads come; encoded once and kept."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from resonance.export.contract import ENCODERS
from resonance.export.families import tiny
from resonance.export.weights import weights_sha256
from resonance.loadtest.audit.carry_spaces import CPU, SEGMENT_S, held_out_pool
from resonance.space.descriptor import BLOCK_WIDTH
from resonance.training.recipes import RECIPES
from resonance.training.tiny import load_modules, segment_blocks, views_of
from resonance.training.titles import UPLOADS, TitleBlocks
from resonance.training.world.factors import TitleFactors
from resonance.training.world.measure import fuse_titles
from resonance.training.world.pool import Pool, PoolSettings, title_of

#: Titles that `tiny` is evaluated on; a catalogue of more begins with them.
EVALUATED = RECIPES["cpu"].evaluation.titles


@dataclass(frozen=True, slots=True)
class TitleVectors:
    """Titles of one space: unit vectors float32 [N, 1788], absent blocks inferred; present bool [N, 3]."""

    vectors: NDArray[np.float32]
    present: NDArray[np.bool_]


def catalogue_settings(titles: int) -> PoolSettings:
    """Of the first `titles` that no training has seen."""
    return replace(RECIPES["cpu"].evaluation, titles=titles)


def catalogue_titles(titles: int) -> list[TitleFactors]:
    """Their factors."""
    settings = catalogue_settings(titles)
    return [title_of(settings, at) for at in range(titles)]


def encoders(name: str) -> dict[str, nn.Module]:
    """Graphs of `tiny`: ``trained`` are the committed ones, ``untrained`` as training starts."""
    return load_modules({"trained": tiny.WEIGHTS, "untrained": None}[name])


def kept_blocks(
    folder: Path, pool_folder: Path, name: str, *, titles: int = EVALUATED
) -> NDArray[np.float32]:
    """Blocks of every segment of a catalogue, float32 [N, S, 3, 596]; float16 on the disk."""
    modules = encoders(name)
    digest = hashlib.sha256("".join(weights_sha256(modules[m]) for m in ENCODERS).encode()).hexdigest()
    path = folder / f"{name} {digest[:12]} {titles}.blocks.npy"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        pool = held_out_pool(pool_folder, catalogue_settings(titles))
        print(f"encoding {pool.settings.segments:,} segments, {name}")
        blocks = segment_blocks(views_of(pool, modules, CPU)).unflatten(0, _shape(pool))
        np.save(path, blocks.numpy().astype(np.float16))
    return np.load(path).astype(np.float32)


def upload_gaps(titles: int, seed: int) -> NDArray[np.bool_]:
    """Which modalities each title came with, bool [titles, 3]: every subset of `UPLOADS` as likely."""
    subsets = np.array(UPLOADS, np.bool_)
    return subsets[np.random.default_rng(seed).integers(len(subsets), size=titles)]


def fuse(blocks: NDArray[np.float32], present: NDArray[np.bool_], name: str) -> TitleVectors:
    """Titles fused from blocks [N, S, 3, 596] where `present` [N, 3] says so, by the head of `name`."""
    titles, segments = blocks.shape[:2]
    times_s = (torch.arange(segments) * SEGMENT_S).expand(titles, segments).float()
    shown = torch.from_numpy(present).unsqueeze(1).expand(titles, segments, 3)  # (N, S, 3)
    whole = TitleBlocks(torch.from_numpy(blocks), shown, times_s)
    return TitleVectors(fuse_titles(encoders(name)["title_fusion"], whole).numpy(), present)


def fuse_text_alone(
    blocks: NDArray[np.float32], present: NDArray[np.bool_], name: str
) -> NDArray[np.float32]:
    """The transcript's block of each title as if nothing else had been uploaded, float32 [N, 596].

    The block that a whole title has rests a little on picture and sound as well: the head corrects it. Titles
    without transcript are 0.
    """
    only = present & np.array([False, False, True])
    there = only.any(axis=1)
    alone = np.zeros((len(present), BLOCK_WIDTH), np.float32)
    alone[there] = fuse(blocks[there], only[there], name).vectors[:, -BLOCK_WIDTH:]
    return alone


def _shape(pool: Pool) -> tuple[int, int]:
    return pool.settings.titles, pool.settings.segments_per_title
