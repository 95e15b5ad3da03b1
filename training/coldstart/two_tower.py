"""Two towers: what a title is and what a viewer had watched, in one space (Yi et al., RecSys 2019).

The content tower starts as the principal components of a title's features, so that before anything is learned
a viewer is shown what lies near to what was watched, and a small network learns to correct it. The viewer's
tower pools what the content tower says of the history, so that nothing is learned of a title but through its
features: a title that nobody has seen stands where its features put it. Sampled softmax over the batch,
corrected for how often a title is a negative: s(x, y) - log Q(y), Q the share of the training viewings that
are of y ("Sampling-Bias-Corrected Neural Modeling for Large Corpus Item Recommendations").
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from resonance.clients.audit.viewing_log import ViewingLog
from resonance.training.coldstart.histories import Histories, History
from resonance.training.coldstart.splitting import Rows, Split, is_liked

#: Validation viewings that are scored after each epoch, at most.
_MOST_VALIDATED = 4_000
#: Of a small log batches are smaller, so that an epoch has some steps.
_STEPS, _SMALLEST_BATCH = 50, 128
_LARGEST_SCALE = 50.0
_TINY = 1e-12


@dataclass(frozen=True, slots=True)
class TowerSettings:
    """The same for every contestant.

    Attributes:
        width: of the common space. hidden: of the content tower. history: viewings that are pooled.
        batch: viewings of a step, at most.
        epochs: at most. patience: epochs without a better validation after which training stops.
        most_examples: viewings of an epoch; of a larger log so many are drawn anew each time.
    """

    width: int = 64
    hidden: int = 128
    dropout: float = 0.2
    history: int = 50
    batch: int = 1024
    epochs: int = 12
    patience: int = 2
    learning_rate: float = 3e-3
    weight_decay: float = 0.02
    most_examples: int = 200_000


class TwoTower(nn.Module):
    """Both towers; what they give are unit vectors of `width`.

    Args:
        components: rows that features are projected on at first, [width, d].
    """

    def __init__(self, components: Tensor, settings: TowerSettings) -> None:
        super().__init__()
        self.straight = nn.Linear(components.shape[1], settings.width, bias=False)
        self.straight.weight.data.copy_(components)
        self.body = nn.Sequential(
            nn.Linear(components.shape[1], settings.hidden),
            nn.ReLU(),
            nn.Dropout(settings.dropout),
            nn.Linear(settings.hidden, settings.width),
        )
        self.attention = nn.Linear(settings.width, 1)
        self.viewer = nn.Sequential(
            nn.Linear(settings.width, settings.hidden), nn.ReLU(), nn.Linear(settings.hidden, settings.width)
        )
        # a title starts as its components, a viewer as the mean of the history
        for layer in (self.body[-1], self.attention, self.viewer[-1]):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        self.log_scale = nn.Parameter(torch.tensor(math.log(10.0)))

    def content(self, features: Tensor) -> Tensor:
        """Titles [..., d] -> [..., width]."""
        return functional.normalize(self.straight(features) + self.body(features), dim=-1)

    def viewers(self, content: Tensor, amounts: Tensor) -> Tensor:
        """Titles [n, width] and how much each counts in each history [B, n] -> [B, width].

        Attention whose prior are the amounts: softmax(log amount + a(title)), which is the same as amounts
        times exp(a), divided by their sum; so no title is copied for each history it stands in. A viewer
        without history is the mean of nothing, 0.
        """
        shares = amounts * self.attention(content).squeeze(-1).exp()  # (B, n)
        pooled = shares @ content / shares.sum(1, keepdim=True).clamp(min=_TINY)  # (B, width)
        return functional.normalize(pooled + self.viewer(pooled), dim=-1)

    @property
    def scale(self) -> Tensor:
        """Inverse temperature."""
        return self.log_scale.exp().clamp(max=_LARGEST_SCALE)


@dataclass(frozen=True, slots=True)
class Trained:
    """A tower at its best epoch, and what it says of all titles, [N, width].

    It is said once: viewers are scored in chunks, and a title's content is the same in each.
    """

    tower: TwoTower
    content: Tensor
    epochs: int

    def scores(self, history: History, titles: NDArray[np.int64]) -> NDArray[np.float32]:
        """Log-probabilities but for a constant of each viewer, float32 [B, T] of `titles`."""
        with torch.no_grad():
            needed, amounts, places = _needed(len(self.content), history, titles)
            return _scores(self.tower, self.content[needed], amounts, places).numpy()


def scaled(features: NDArray[np.float32], known: NDArray[np.bool_]) -> Tensor:
    """Features [N, d] less the mean of known titles, all by one factor: entries of mean square 1."""
    centred = features - features[known].mean(axis=0, dtype=np.float64).astype(np.float32)
    size = float(np.sqrt(np.mean(np.square(centred[known]), dtype=np.float64)))
    return torch.from_numpy(centred / np.float32(size if size > 0 else 1.0))


def principal_components(inputs: Tensor, known: NDArray[np.bool_], width: int) -> Tensor:
    """Of known titles' features [N, d], [width, d], which project to a mean square of 1 a title; fewer
    components than `width` leave zeros."""
    rows = inputs[torch.from_numpy(known)]
    _, axes = torch.linalg.eigh((rows.T @ rows).double())  # columns, the least first
    axes = axes.T.flip(0)[:width].float()
    found = torch.zeros(width, inputs.shape[1])
    found[: len(axes)] = axes
    size = (rows @ found.T).square().sum(1).mean().sqrt()
    return found / size.clamp(min=_TINY)


def train_towers(
    features: NDArray[np.float32],
    log: ViewingLog,
    split: Split,
    settings: TowerSettings,
    *,
    liked: float,
    seed: int,
    on_epoch: Callable[[int], None] = lambda epoch: None,
) -> Trained:
    """Learn from `split.train`, and stop where `split.validation` is told best.

    Args:
        features: float32 [N, d] in the order of `log.media_ids`.
        liked: see `resonance.training.coldstart.splitting.SplitSettings`.
        on_epoch: is told how many are done.
    """
    rng = np.random.default_rng([seed, 2])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        known = np.bincount(log.titles[split.train], minlength=len(log.media_ids)) > 0
        inputs = scaled(features, known)
        tower = TwoTower(principal_components(inputs, known, settings.width), settings)
        wanted = is_liked(log, liked)
        rows = split.train[wanted[split.train]]
        histories = Histories(log, split.train, length=settings.history)
        validation = _Validation(log, split, wanted, histories, rng)
        log_q = _log_shares(log, rows)
        size = min(settings.batch, max(_SMALLEST_BATCH, len(rows) // _STEPS))
        steps = -(-min(len(rows), settings.most_examples) // size) * settings.epochs
        optimiser = torch.optim.AdamW(
            tower.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: 1 - step / (steps + 1))
        tower.eval()
        best, best_loss, best_epoch = copy.deepcopy(tower.state_dict()), validation.loss(tower, inputs), 0
        for epoch in range(1, settings.epochs + 1):
            tower.train()
            chosen = rng.permutation(rows)[: settings.most_examples]
            for first in range(0, len(chosen), size):
                batch = chosen[first : first + size]
                loss = _loss(tower, inputs, log, histories, log_q, batch)
                if loss is None:
                    continue
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                schedule.step()
            tower.eval()
            found = validation.loss(tower, inputs)
            on_epoch(epoch)
            if found < best_loss:
                best, best_loss, best_epoch = copy.deepcopy(tower.state_dict()), found, epoch
            elif epoch - best_epoch >= settings.patience:
                break
        tower.load_state_dict(best)
        tower.eval()
    with torch.no_grad():
        return Trained(tower, tower.content(inputs), best_epoch)


def _log_shares(log: ViewingLog, rows: Rows) -> Tensor:
    """log Q of each title, [N]; of those that are no target it does not matter."""
    counts = np.bincount(log.titles[rows], minlength=len(log.media_ids))
    return torch.log(torch.from_numpy(np.maximum(counts, 1) / len(rows)).float())


def _loss(
    tower: TwoTower, inputs: Tensor, log: ViewingLog, histories: Histories, log_q: Tensor, rows: Rows
) -> Tensor | None:
    """Of the next title after a history, against the titles of the others of the batch."""
    history = histories.before(log.users[rows], log.at_s[rows])
    some = history.weights.any(axis=1)
    if some.sum() < 2:
        return None
    targets = log.titles[rows][some]
    history = History(history.titles[some], history.weights[some])
    needed, amounts, places = _needed(len(inputs), history, targets)
    scores = _scores(tower, tower.content(inputs[needed]), amounts, places)
    logits = scores - log_q[torch.from_numpy(targets)]  # (B, B)
    same = torch.from_numpy(targets[:, None] == targets)
    same.fill_diagonal_(False)
    return functional.cross_entropy(logits.masked_fill(same, -math.inf), torch.arange(len(targets)))


def _needed(
    count: int, history: History, titles: NDArray[np.int64]
) -> tuple[Tensor, Tensor, NDArray[np.int64]]:
    """Which of `count` titles occur, bool [count], n of them; how much each counts in each history, [B, n];
    where among them `titles` stand."""
    needed = np.zeros(count, np.bool_)
    needed[history.titles] = True
    needed[titles] = True
    place = np.cumsum(needed) - 1
    amounts = torch.zeros(len(history.titles), int(needed.sum()))
    amounts.scatter_add_(1, torch.from_numpy(place[history.titles]), torch.from_numpy(history.weights))
    return torch.from_numpy(needed), amounts, place[titles]


def _scores(tower: TwoTower, content: Tensor, amounts: Tensor, places: NDArray[np.int64]) -> Tensor:
    """Viewers with `amounts` [B, n] of the titles `content` [n, width], on the titles at `places`, [B, T]."""
    return tower.scale * tower.viewers(content, amounts) @ content[torch.from_numpy(places)].T


class _Validation:
    """How well later viewings are told: of titles that were left out of training, and of the others."""

    def __init__(
        self,
        log: ViewingLog,
        split: Split,
        wanted: NDArray[np.bool_],
        histories: Histories,
        rng: np.random.Generator,
    ) -> None:
        rows = split.validation[wanted[split.validation]]
        rows = rng.permutation(rows)[:_MOST_VALIDATED]
        start_s = float(log.at_s[split.validation].min())
        history = histories.before(log.users[rows], np.full(len(rows), start_s))
        some = history.weights.any(axis=1)
        self._history = History(history.titles[some], history.weights[some])
        titles = log.titles[rows[some]]
        self._candidates = np.unique(log.titles[split.known])
        self._targets = torch.from_numpy(np.searchsorted(self._candidates, titles))
        self._new = torch.from_numpy(split.practice[titles])

    def loss(self, tower: TwoTower, inputs: Tensor) -> float:
        """Mean of what new titles and what others cost, in nats; where there are none of one, the other's."""
        with torch.no_grad():
            needed, amounts, places = _needed(len(inputs), self._history, self._candidates)
            logits = _scores(tower, tower.content(inputs[needed]), amounts, places)
            costs = functional.cross_entropy(logits, self._targets, reduction="none")
        parts = [costs[mask].mean() for mask in (self._new, ~self._new) if mask.any()]
        return float(torch.stack(parts).mean()) if parts else 0.0
