"""How good the space is, on titles whose combinations and melodies were never trained on."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from resonance.export.axes import read_axes
from resonance.export.families import tiny
from resonance.space.calibration import end_of_axis
from resonance.space.descriptor import MODALITIES
from resonance.training.tiny import segment_blocks, title_blocks, views_of
from resonance.training.titles import SUBSETS, TitleBlocks, shuffled, subset_masks
from resonance.training.world import oracle
from resonance.training.world.cold_start import cold_start
from resonance.training.world.factors import ARCS, GENRES
from resonance.training.world.measure import Row, concatenated, fuse_titles, recall
from resonance.training.world.pool import Pool

SEED = 7


def evaluate(
    pool: Pool, modules: Mapping[str, nn.Module], untrained: Mapping[str, nn.Module], device: torch.device
) -> list[Row]:
    """Every row, of held-out `pool`."""
    trained = title_blocks(views_of(pool, modules, device))
    clips = clip_rows(pool)
    return [
        *clip_retrieval(pool, modules, untrained, trained, clips, device),
        *title_retrieval(modules, untrained, trained, pool),
        *order(modules, untrained, trained, pool),
        *cold_start(modules, trained, pool),
        *axes(modules, trained, pool),
    ]


def clip_rows(pool: Pool) -> np.ndarray:
    """One segment of each title, of those with a hum, rows int64 [titles]."""
    settings = pool.settings
    rng = np.random.Generator(np.random.PCG64(SEED))
    starts = np.arange(settings.titles) * settings.segments_per_title
    rows = starts + rng.integers(settings.segments_per_title, size=settings.titles)
    hummed = rows // settings.hum_every * settings.hum_every
    return np.where(hummed >= starts, hummed, hummed + settings.hum_every)


@torch.inference_mode()
def _stills_and_hums(
    pool: Pool, modules: Mapping[str, nn.Module], clips: np.ndarray, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    views = views_of(pool, modules, device)
    chunks = np.array_split(clips, max(len(clips) // 128, 1))
    stills = torch.cat([views.pictures(c, frames=1).cpu() for c in chunks])
    hums = torch.cat([views.sounds(c // pool.settings.hum_every, hums=True).cpu() for c in chunks])
    return stills, hums


def clip_retrieval(
    pool: Pool,
    modules: Mapping[str, nn.Module],
    untrained: Mapping[str, nn.Module],
    trained: TitleBlocks,
    clips: np.ndarray,
    device: torch.device,
) -> list[Row]:
    """A query of one modality against the clips' blocks of the OTHER modalities; hums against sound."""
    rivals = clip_rivals(np.asarray(pool["factors"])[clips], melody_written(pool, clips))
    scores, plain = (
        _clip_and_hum_scores(blocks, *_stills_and_hums(pool, m, clips, device))
        for blocks, m in (
            (trained.blocks.flatten(0, 1)[clips], modules),
            (segment_blocks(views_of(pool, untrained, device), rows=clips), untrained),
        )
    )
    own = np.arange(len(clips))
    return [
        Row(
            f"{query} -> clip, recall@{k}",
            recall(scores[query], own, k),
            k / len(clips),
            oracle.expected_recall(rivals[query], k),
            {"untrained": recall(plain[query], own, k)},
        )
        for query in ("text", "audio", "image", "hum")
        for k in (1, 10)
    ]


def clip_rivals(
    factors: np.ndarray, written: np.ndarray, queries: int | None = None
) -> dict[str, np.ndarray]:
    """How many other clips look to an oracle like each of the first `queries`, or like each, int64 [Q].

    Args:
        factors: of all clips, int8 [N, 11]. written: whether the text of each writes the melody, bool [N].
    """
    mine = written[:queries, None]
    return {
        # every clip is heard, so a melody need only be written in the query
        "text": oracle.rivals(factors, oracle.SHOWN_BY_ALL, mine, queries),
        # a rival falls out where its own text disagrees, and where the right one's agrees
        "audio": oracle.rivals(factors, oracle.SHOWN_BY_ALL, mine | written[None], queries),
        "image": oracle.rivals(factors, oracle.SHOWN_BY_ALL, queries=queries),
        "hum": oracle.rivals(factors, oracle.MELODY, queries=queries),
    }


def melody_written(pool: Pool, clips: np.ndarray) -> np.ndarray:
    """Whether the text of each clip writes the melody, bool [clips]."""
    starts_with_theme = np.asarray(pool["ids"])[clips][:, 1:6]
    return np.asarray((starts_with_theme == starts_with_theme[_first_theme(pool, clips)]).all(1))


def _first_theme(pool: Pool, clips: np.ndarray) -> int:
    """A clip whose text writes the melody: its words are the longest common beginning."""
    heads = np.asarray(pool["ids"])[clips][:, 1:6]
    values, counts = np.unique(heads, axis=0, return_counts=True)
    return int(np.flatnonzero((heads == values[counts.argmax()]).all(1))[0])


def _spread(query: torch.Tensor, block: torch.Tensor) -> torch.Tensor:
    """Cosines [Q, N] in units of their spread among clips that do not belong together."""
    cosine = query @ block.T
    return cosine / cosine[~torch.eye(len(cosine), dtype=torch.bool)].std()


def clip_scores(blocks: torch.Tensor, stills: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
    """Scores [N, N] of each clip's query against every clip's blocks of the other modalities, by query.

    Args:
        blocks: visual, audio and transcript of the clips, unit, fp32 [N, 3, 596].
        stills: blocks of one picture of each, [N, 596]; by default the image query takes all its frames.
    """
    visual, audio, text = blocks.unbind(1)
    image = visual if stills is None else stills
    return {
        "text": _spread(text, visual) + _spread(text, audio),
        "audio": _spread(audio, visual) + _spread(audio, text),
        "image": _spread(image, audio) + _spread(image, text),
    }


def _clip_and_hum_scores(
    blocks: torch.Tensor, stills: torch.Tensor, hums: torch.Tensor
) -> dict[str, torch.Tensor]:
    return {**clip_scores(blocks, stills), "hum": _spread(hums, blocks[:, 1])}


def title_retrieval(
    modules: Mapping[str, nn.Module],
    untrained: Mapping[str, nn.Module],
    titles: TitleBlocks,
    pool: Pool,
) -> list[Row]:
    """Titles reduced to some modalities find themselves whole; and, harder, their other half."""
    own = np.arange(len(titles.blocks))
    factors = np.asarray(pool["factors"]).reshape(len(own), -1, pool["factors"].shape[1])
    chance = 1 / len(own)
    heads = {"fused": modules["title_fusion"], "mean fill": untrained["title_fusion"]}
    even, odd = titles.halves()
    rows = []
    for kind, query_side, library_side in (("itself", titles, titles), ("its other half", even, odd)):
        seen = oracle.seen_of_titles(factors if kind == "itself" else factors[:, ::2])
        by_picture = oracle.expected_recall(oracle.rivals(seen, tuple(range(seen.shape[1]))), 1)
        library = {name: fuse_titles(head, library_side) for name, head in heads.items()}
        library["concatenation"] = concatenated(library_side)
        for subset in SUBSETS:
            reduced = query_side.showing(torch.tensor(subset, dtype=torch.bool))
            query = {name: fuse_titles(head, reduced) for name, head in heads.items()}
            query["concatenation"] = concatenated(reduced)
            found = {name: recall(query[name] @ library[name].T, own, 1) for name in query}
            given = "+".join(m for m, there in zip(MODALITIES, subset, strict=True) if there)
            best = by_picture if subset == (1, 0, 0) else 1.0  # sound and text tell melodies apart
            rows.append(Row(f"{given} -> {kind}, recall@1", found.pop("fused"), chance, best, found))
        rows.append(_mixed(heads, query_side, library_side, kind, own))
    return rows


def _mixed(
    heads: Mapping[str, nn.Module],
    query_side: TitleBlocks,
    library_side: TitleBlocks,
    kind: str,
    own: np.ndarray,
) -> Row:
    """A library in which every title misses other modalities, asked with whole titles."""
    rng = np.random.Generator(np.random.PCG64(SEED))
    library = library_side.showing(subset_masks(len(own), rng).unsqueeze(1))
    found = {
        name: recall(fuse_titles(head, query_side) @ fuse_titles(head, library).T, own, 1)
        for name, head in heads.items()
    }
    found["concatenation"] = recall(concatenated(query_side) @ concatenated(library).T, own, 1)
    return Row(
        f"whole title -> library with mixed gaps ({kind}), recall@1",
        found.pop("fused"),
        1 / len(own),
        1.0,
        found,
    )


def order(
    modules: Mapping[str, nn.Module], untrained: Mapping[str, nn.Module], titles: TitleBlocks, pool: Pool
) -> list[Row]:
    """One half of a title is nearer to the other half than to that half shuffled in time."""
    rng = np.random.Generator(np.random.PCG64(SEED))
    even, odd = titles.halves()
    count, length = len(odd), odd.length
    orders = torch.from_numpy(shuffled(length, count, rng))
    mixed = odd.reordered(orders)
    whole_rows = np.arange(len(pool["factors"])).reshape(count, -1)
    levels = np.asarray(pool["factors"])[whole_rows][:, 1 : 2 * length : 2, 2:4]  # (N, S/2, 2)
    moved = (np.take_along_axis(levels, orders.numpy()[..., None], 1) != levels).any((1, 2))

    def told_apart(head: nn.Module) -> np.ndarray:
        a, b, c = (fuse_titles(head, side) for side in (even, odd, mixed))
        return ((a * b).sum(1) > (a * c).sum(1)).numpy()

    hit, base = told_apart(modules["title_fusion"]), told_apart(untrained["title_fusion"])
    # an oracle of the levels guesses where the shuffle moved none of them
    best = float(np.where(moved, 1.0, 0.5).mean())
    return [
        Row("order: told from its shuffle", float(hit.mean()), 0.5, best, {"mean fill": float(base.mean())})
    ]


#: An axis of the family, and the column of the factors that it should follow.
AXIS_FACTORS = {"tension": 2, "pace": 3}


@torch.inference_mode()
def axes(modules: Mapping[str, nn.Module], titles: TitleBlocks, pool: Pool) -> list[Row]:
    """Correlation of an axis of the family, made of its prompts, with the level it is named after.

    Of all segments, a block of one modality at a time; the axis knows nothing of the levels.
    """
    tokenizer = tiny.build_tokenizer()
    prompts = {axis.name: axis for axis in read_axes(tiny.AXES)}
    levels = np.asarray(pool["factors"])

    def end(texts: tuple[str, ...]) -> np.ndarray:
        ids = [torch.tensor([tokenizer.encode(text).ids]) for text in texts]
        blocks = [modules["transcript_encoder"](i, torch.ones_like(i)) for i in ids]
        return end_of_axis(torch.cat(blocks).numpy())

    rows = []
    for name, column in AXIS_FACTORS.items():
        direction = end(prompts[name].high) - end(prompts[name].low)  # (596,)
        for i, modality in enumerate(MODALITIES):
            values = titles.blocks[:, :, i].flatten(0, 1).numpy() @ direction  # (R,)
            correlation = float(np.corrcoef(values, levels[:, column])[0, 1])
            rows.append(
                Row(f"axis {name} of {modality} blocks, correlation with the level", correlation, 0.0)
            )
    return rows


def world_facts(pool: Pool) -> dict[str, float]:
    """Entropies in bits of what was held out, and its size."""
    facts = oracle.factor_entropies(np.asarray(pool["factors"])[clip_rows(pool)])
    return {**facts, "arc": float(np.log2(len(ARCS))), "genre (a tag)": float(np.log2(len(GENRES)))}
