"""How good the space is, on titles whose combinations and melodies were never trained on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from resonance.training.fusion import SUBSETS, TitleBlocks, fuse_batch, shuffled
from resonance.training.tiny import title_blocks, views_of
from resonance.training.world import oracle
from resonance.training.world.factors import ARCS, GENRES
from resonance.training.world.pool import Pool, title_of

MODALITIES = ("visual", "audio", "transcript")
SEED = 7


@dataclass(frozen=True, slots=True)
class Row:
    """One measured figure beside what it is to be compared with; all are shares of 1."""

    name: str
    value: float
    chance: float
    oracle: float | None = None
    baselines: Mapping[str, float] | None = None


def recall(scores: torch.Tensor, targets: np.ndarray, k: int) -> float:
    """Share of rows of scores [Q, N] whose target is among the k best; ties count against it."""
    index = torch.from_numpy(np.asarray(targets))
    own = scores[torch.arange(len(index)), index].unsqueeze(1)  # (Q, 1)
    better = (scores >= own).sum(1) - 1
    return float((better < k).float().mean())


def evaluate(
    pool: Pool, modules: Mapping[str, nn.Module], untrained: Mapping[str, nn.Module], device: torch.device
) -> list[Row]:
    """Every row, of held-out `pool`."""
    trained = title_blocks(views_of(pool, modules, device))
    seeded = title_blocks(views_of(pool, untrained, device))
    clips = clip_rows(pool)
    return [
        *clip_retrieval(pool, modules, untrained, trained, seeded, clips, device),
        *title_retrieval(modules, untrained, trained),
        *order(modules, untrained, trained, pool),
        *cold_start(modules, trained, pool),
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
    seeded: TitleBlocks,
    clips: np.ndarray,
    device: torch.device,
) -> list[Row]:
    """A query of one modality against the clips' blocks of the OTHER modalities; hums against sound."""
    factors = np.asarray(pool["factors"])[clips]
    starts_with_theme = np.asarray(pool["ids"])[clips][:, 1:6]
    written = (starts_with_theme == starts_with_theme[_first_theme(pool, clips)]).all(1)
    rivals = {
        "text": oracle.rivals(factors, oracle.SHOWN_BY_ALL, written),
        "audio": oracle.rivals(factors, oracle.SHOWN_BY_ALL, written),
        "image": oracle.rivals(factors, oracle.SHOWN_BY_ALL),
        "hum": oracle.rivals(factors, oracle.MELODY),
    }
    scores, plain = (
        _clip_and_hum_scores(blocks.blocks.flatten(0, 1)[clips], *_stills_and_hums(pool, m, clips, device))
        for blocks, m in ((trained, modules), (seeded, untrained))
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


@torch.inference_mode()
def _fuse(fusion: nn.Module, titles: TitleBlocks, present: torch.Tensor | None = None) -> torch.Tensor:
    """TITLE of every title, [N, 1788], in chunks."""
    present = titles.present if present is None else present
    fusion = fusion.cpu()
    parts = [
        fuse_batch(fusion, titles.blocks[i : i + 128], present[i : i + 128], titles.times_s[i : i + 128])[0]
        for i in range(0, len(titles.blocks), 128)
    ]
    return torch.cat(parts)


def _concatenated(titles: TitleBlocks, present: torch.Tensor) -> torch.Tensor:
    """The baseline: mean blocks side by side, zero where absent, made unit; [N, 1788]."""
    here = present.float().unsqueeze(-1)  # (N, S, 3, 1)
    mean = functional.normalize((titles.blocks * here).sum(1), dim=-1)  # (N, 3, 596)
    return functional.normalize(mean.flatten(1), dim=1)


def _halves(titles: TitleBlocks) -> tuple[TitleBlocks, TitleBlocks]:
    length = titles.blocks.shape[1] // 2 * 2
    return tuple(  # type: ignore[return-value]
        TitleBlocks(
            titles.blocks[:, i:length:2], titles.present[:, i:length:2], titles.times_s[:, i:length:2]
        )
        for i in (0, 1)
    )


def _keep(titles: TitleBlocks, subset: tuple[int, int, int]) -> torch.Tensor:
    return titles.present & torch.tensor(subset, dtype=torch.bool)


def title_retrieval(
    modules: Mapping[str, nn.Module], untrained: Mapping[str, nn.Module], titles: TitleBlocks
) -> list[Row]:
    """Titles reduced to some modalities find themselves whole; and, harder, their other half."""
    own = np.arange(len(titles.blocks))
    chance = 1 / len(own)
    heads = {"fused": modules["title_fusion"], "mean fill": untrained["title_fusion"]}
    even, odd = _halves(titles)
    rows = []
    for kind, query_side, library_side in (("itself", titles, titles), ("its other half", even, odd)):
        library = {name: _fuse(head, library_side) for name, head in heads.items()}
        library["concatenation"] = _concatenated(library_side, library_side.present)
        for subset in SUBSETS:
            present = _keep(query_side, subset)
            query = {name: _fuse(head, query_side, present) for name, head in heads.items()}
            query["concatenation"] = _concatenated(query_side, present)
            found = {name: recall(query[name] @ library[name].T, own, 1) for name in query}
            given = "+".join(m for m, there in zip(MODALITIES, subset, strict=True) if there)
            rows.append(Row(f"{given} -> {kind}, recall@1", found.pop("fused"), chance, 1.0, found))
        rows.append(_mixed(heads, query_side, library_side, library, kind, own))
    return rows


def _mixed(
    heads: Mapping[str, nn.Module],
    query_side: TitleBlocks,
    library_side: TitleBlocks,
    library: Mapping[str, torch.Tensor],
    kind: str,
    own: np.ndarray,
) -> Row:
    """A library in which every title misses other modalities, asked with whole titles."""
    rng = np.random.Generator(np.random.PCG64(SEED))
    masks = torch.tensor(SUBSETS, dtype=torch.bool)[torch.from_numpy(rng.integers(6, size=len(own)))]
    present = library_side.present & masks.unsqueeze(1)
    found = {
        name: recall(_fuse(head, query_side) @ _fuse(head, library_side, present).T, own, 1)
        for name, head in heads.items()
    }
    concatenated = _concatenated(query_side, query_side.present) @ _concatenated(library_side, present).T
    found["concatenation"] = recall(concatenated, own, 1)
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
    even, odd = _halves(titles)
    count, length = odd.blocks.shape[:2]
    orders = torch.from_numpy(shuffled(length, count, rng))
    rows = torch.arange(count).unsqueeze(1)
    mixed = TitleBlocks(odd.blocks[rows, orders], odd.present[rows, orders], odd.times_s)
    whole_rows = np.arange(len(pool["factors"])).reshape(count, -1)
    levels = np.asarray(pool["factors"])[whole_rows][:, 1 : 2 * length : 2, 2:4]  # (N, S/2, 2)
    moved = (np.take_along_axis(levels, orders.numpy()[..., None], 1) != levels).any((1, 2))

    def told_apart(head: nn.Module) -> np.ndarray:
        a, b, c = (_fuse(head, side) for side in (even, odd, mixed))
        return ((a * b).sum(1) > (a * c).sum(1)).numpy()

    hit, base = told_apart(modules["title_fusion"]), told_apart(untrained["title_fusion"])
    # an oracle of the levels guesses where the shuffle moved none of them
    best = float(np.where(moved, 1.0, 0.5).mean())
    return [
        Row("order: told from its shuffle", float(hit.mean()), 0.5, best, {"mean fill": float(base.mean())})
    ]


def cold_start(modules: Mapping[str, nn.Module], titles: TitleBlocks, pool: Pool) -> list[Row]:
    """Neighbours of a held-out title that nobody has seen: do they share what it is like?

    NDCG@10 with the share of latent factors two titles have in common as gain (setting, subject, arc,
    spans of tension and pace, steps of the melody), for neighbours by fused vector, by text alone, and by
    tags alone (genre; all titles of a genre tie and are taken in random order). Once with all titles
    complete, once as uploads come: each lacks other modalities, so that text is there for four in seven.
    Beside it, how often one half of a title finds its other half.
    """
    count = len(titles.blocks)
    gain = common_factors(pool, count)
    rng = np.random.Generator(np.random.PCG64(SEED))
    genres = np.array([title_of(pool.settings, i).genre for i in range(count)])
    tags = (genres[:, None] == genres[None]) + rng.uniform(0, 0.5, (count, count))
    masks = torch.tensor([*SUBSETS, (1, 1, 1)], dtype=torch.bool)
    gaps = titles.present & masks[torch.from_numpy(rng.integers(len(masks), size=count))].unsqueeze(1)
    chance, best = ndcg(rng.uniform(size=(count, count)), gain), ndcg(gain, gain)
    rows = []
    for kind, present in (("complete", titles.present), ("with gaps", gaps)):
        fused = _fuse(modules["title_fusion"], titles, present)
        concatenated = _concatenated(titles, present)
        words = concatenated[:, 2 * titles.blocks.shape[-1] :]  # (N, 596), 0 where there is no text
        # titles without words tie; they are taken in random order
        by_text = (words @ words.T).numpy() + rng.uniform(0, 1e-6, (count, count))
        baselines = {
            "concatenation": ndcg((concatenated @ concatenated.T).numpy(), gain),
            "text only": ndcg(by_text, gain),
            "tags only": ndcg(tags, gain),
        }
        value = ndcg((fused @ fused.T).numpy(), gain)
        rows.append(Row(f"cold start, titles {kind}: neighbours' NDCG@10", value, chance, best, baselines))
        rows.append(_other_half(modules, titles, present, genres, f"cold start, titles {kind}"))
    return rows


def _other_half(
    modules: Mapping[str, nn.Module],
    titles: TitleBlocks,
    present: torch.Tensor,
    genres: np.ndarray,
    kind: str,
) -> Row:
    sides = _halves(TitleBlocks(titles.blocks, present, titles.times_s))
    own = np.arange(len(genres))
    even, odd = (_fuse(modules["title_fusion"], side) for side in sides)
    first, second = (_concatenated(side, side.present) for side in sides)
    width = titles.blocks.shape[-1]
    baselines = {
        "concatenation": recall(first @ second.T, own, 1),
        "text only": recall(first[:, 2 * width :] @ second[:, 2 * width :].T, own, 1),
        "tags only": float(np.mean([1 / (genres == g).sum() for g in genres])),
    }
    return Row(f"{kind}: other half, recall@1", recall(even @ odd.T, own, 1), 1 / len(own), 1.0, baselines)


def common_factors(pool: Pool, count: int) -> np.ndarray:
    """Share of latent factors that titles have in common, float [count, count], 0 on the diagonal."""
    titles = [title_of(pool.settings, i) for i in range(count)]
    columns = {
        "setting": [t.setting for t in titles],
        "subject": [t.subject for t in titles],
        "arc": [t.arc for t in titles],
        "tension": [t.tension_span for t in titles],
        "pace": [t.pace_span for t in titles],
    }
    share = np.zeros((count, count))
    for values in columns.values():
        v = np.asarray(values).reshape(count, -1)
        share += (v[:, None] == v[None]).all(2)
    tunes = np.asarray([t.melody for t in titles])
    share += (tunes[:, None] == tunes[None]).mean(2)
    np.fill_diagonal(share, 0.0)
    return share / (len(columns) + 1)


def ndcg(scores: np.ndarray, gain: np.ndarray, k: int = 10) -> float:
    """Mean NDCG@k (Järvelin and Kekäläinen 2002) of each row's neighbours, itself left out."""
    scores = scores.astype(float).copy()
    np.fill_diagonal(scores, -np.inf)
    discount = 1 / np.log2(np.arange(2, k + 2))
    found = np.take_along_axis(gain, np.argsort(-scores, 1)[:, :k], 1) @ discount
    best = -np.sort(-gain, 1)[:, :k] @ discount
    return float(np.mean(found / np.maximum(best, 1e-12)))


def world_facts(pool: Pool) -> dict[str, float]:
    """Entropies in bits of what was held out, and its size."""
    facts = oracle.factor_entropies(np.asarray(pool["factors"])[clip_rows(pool)])
    return {**facts, "arc": float(np.log2(len(ARCS))), "genre (a tag)": float(np.log2(len(GENRES)))}
