"""What vectors say of tags, out of fold; what clusters share with them; whether either has structure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_mutual_info_score

from resonance.clients.audit.explained import Z_95, Explained, Predicted, out_of_fold
from resonance.clients.audit.tag_table import LEAST_CARRIERS, TagTable
from resonance.space.blocks import BoolArray, FloatArray

CLUSTERS = 32
_STRUCTURE_DIRECTIONS = 16


@dataclass(frozen=True, slots=True)
class Told:
    """How well vectors tell a tag: area under the ROC curve out of fold, its 95% interval; and the share of
    the tag's information that clusters have, adjusted for chance: 0 none, 1 all."""

    tag: str
    titles: int
    auc: float
    interval: tuple[float, float]
    information: float


@dataclass(frozen=True, slots=True)
class Learned:
    """Attributes:
    tags: one `Told` each, best told first.
    auc, auc_interval: their mean.
    explained: of the tags' columns, each scaled to variance 1, by the vectors.
    information: adjusted mutual information of clusters and whole sets of tags; None where no set is on 20
        titles.
    clusters: how many.
    """

    tags: tuple[Told, ...]
    auc: float
    auc_interval: tuple[float, float]
    explained: Explained
    information: float | None
    clusters: int


def learn_tags(
    scores: FloatArray,
    tags: Sequence[tuple[str, ...]],
    table: TagTable,
    folds: NDArray[np.intp],
    seed: int,
) -> Learned:
    """From titles' principal components [n, k]: a linear fit a tag, which ranks as a discriminant does."""
    columns = table.columns
    read = out_of_fold(scores, columns / columns.std(axis=0), folds)
    number = min(CLUSTERS, max(2, len(scores) // (2 * LEAST_CARRIERS)))
    clusters = KMeans(number, n_init=3, random_state=seed).fit_predict(scores)
    told, influences = [], np.zeros(len(scores))
    for at, tag in enumerate(table.names):
        carried = table.carried[:, at]
        auc, influence = _auc(read.predicted[:, at], carried)
        half = Z_95 * float(np.sqrt((influence**2).sum()))
        interval = (max(auc - half, 0.0), min(auc + half, 1.0))
        information = float(adjusted_mutual_info_score(carried, clusters, average_method="min"))
        told.append(Told(tag, int(carried.sum()), auc, interval, information))
        influences += influence / len(table.names)
    sets = _common_sets(tags)
    mean = float(np.mean([one.auc for one in told]))
    half = Z_95 * float(np.sqrt((influences**2).sum()))
    return Learned(
        tags=tuple(sorted(told, key=lambda one: -one.auc)),
        auc=mean,
        auc_interval=(max(mean - half, 0.0), min(mean + half, 1.0)),
        explained=read.explained(),
        information=float(adjusted_mutual_info_score(sets, clusters)) if sets.any() else None,
        clusters=number,
    )


def _auc(values: FloatArray, carried: BoolArray) -> tuple[float, FloatArray]:
    """Area under the ROC curve, and each title's influence on it (DeLong and others, Biometrics 44, 1988)."""
    ranks, n_in, n_out = rankdata(values), int(carried.sum()), int((~carried).sum())
    influence = np.empty(len(values))
    # share of the others that a carrier lies above, and that one without it lies below
    above = (ranks[carried] - rankdata(values[carried])) / n_out
    below = 1 - (ranks[~carried] - rankdata(values[~carried])) / n_in
    auc = float(above.mean())
    influence[carried], influence[~carried] = (above - auc) / n_in, (below - auc) / n_out
    return auc, influence


def _common_sets(tags: Sequence[tuple[str, ...]]) -> NDArray[np.intp]:
    """A number for each title's set of tags; sets of few titles share one, as do titles without tags."""
    counts = Counter(tags)
    numbers = {own: at for at, (own, count) in enumerate(counts.items(), start=1) if count >= LEAST_CARRIERS}
    return np.array([numbers.get(own, 0) for own in tags])


def tag_structure(table: TagTable, folds: NDArray[np.intp]) -> Explained:
    """Of each tag, how much the other tags explain: 0 in the mean for tags thrown on at random.

    All p regressions of one column on the others come from one inverse of the Gram matrix, T:
    f_j = x_j - (x T)_j / T_jj.
    """
    x = table.columns / table.carried.std(axis=0)
    centred, predicted = np.empty_like(x), np.empty_like(x)
    for fold in np.unique(folds):
        mine = folds == fold
        rest = x[~mine]
        mean = rest.mean(axis=0)
        inverse = np.linalg.inv((rest - mean).T @ (rest - mean) + np.eye(x.shape[1]))
        centred[mine] = x[mine] - mean
        predicted[mine] = centred[mine] - centred[mine] @ inverse / np.diag(inverse)
    return Predicted(centred, predicted, np.zeros(len(x))).explained()


def vector_structure(centred: NDArray[np.float32], rng: np.random.Generator) -> Explained:
    """Of centred blocks [n, d]: what the 16 largest directions of one half of the titles hold of the other.

    Less what they hold of noise that has no direction, 16 / d, and over what is left: 0 in the mean for
    such noise, 1 where nothing lies outside them.
    """
    half = rng.permutation(len(centred)) < len(centred) // 2
    alive = centred[:, centred.any(axis=0)]
    if not alive.shape[1]:  # all titles are the same
        nothing = np.zeros(int((~half).sum()))
        return Explained(nothing, nothing, nothing, nothing)
    one, other = alive[half], alive[~half]
    directions = np.linalg.eigh((one.T @ one).astype(np.float64))[1][:, -_STRUCTURE_DIRECTIONS:]
    total = np.einsum("nd,nd->n", other, other, dtype=np.float64)
    held = ((other @ directions.astype(np.float32)) ** 2).sum(axis=1, dtype=np.float64)
    chance = min(_STRUCTURE_DIRECTIONS / alive.shape[1], 0.5)
    beyond = (held - chance * total) / (1 - chance)
    return Explained(beyond, beyond, total, np.zeros(len(total)))
