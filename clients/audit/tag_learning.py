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
from resonance.space.descriptor import BLOCK_WIDTH

CLUSTERS = 32
_STRUCTURE_DIRECTIONS = 16
#: Of the error of an AUC out of fold, in DeLong's, which takes predictions as given. Where a tag is not told
#: they are made of the others' tags alone: a pair of titles counts when either predicts the other, its noise
#: adds up before it is squared, and the variance is twice DeLong's. Well told tags have a little less.
_OUT_OF_FOLD = float(np.sqrt(2))


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
        interval = _interval(auc, influence)
        information = float(adjusted_mutual_info_score(carried, clusters, average_method="min"))
        told.append(Told(tag, int(carried.sum()), auc, interval, information))
        influences += influence / len(table.names)
    sets = _common_sets(tags)
    mean = float(np.mean([one.auc for one in told]))
    return Learned(
        tags=tuple(sorted(told, key=lambda one: -one.auc)),
        auc=mean,
        auc_interval=_interval(mean, influences),
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


def _interval(auc: float, influence: FloatArray) -> tuple[float, float]:
    """95%, of an AUC of predictions out of fold; influence [n]: of each title with predictions as given."""
    half = Z_95 * _OUT_OF_FOLD * float(np.sqrt((influence**2).sum()))
    return max(auc - half, 0.0), min(auc + half, 1.0)


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
    """Of centred blocks [n, 1788]: what the 16 largest directions of half of the titles hold of the others.

    Less what they hold of noise that has no direction within a modality, and over what is left: 0 in the mean
    for such noise, 1 where nothing lies outside them. Of a block of |y|^2 in d numbers, noise that has no
    direction gives directions whose squares in this block sum to a the share a / d in the mean. They lie
    mostly where most titles have a block, so that each modality has a share of its own.
    """
    half = rng.permutation(len(centred)) < len(centred) // 2
    alive = centred[:, centred.any(axis=0)]
    if not alive.shape[1]:  # all titles are the same
        nothing = np.zeros(int((~half).sum()))
        return Explained(nothing, nothing, nothing, nothing)
    one, other = alive[half], alive[~half]
    directions = np.linalg.eigh((one.T @ one).astype(np.float64))[1][:, -_STRUCTURE_DIRECTIONS:]
    held = ((other @ directions.astype(np.float32)) ** 2).sum(axis=1, dtype=np.float64)
    squares = (other.astype(np.float64)) ** 2
    modality = np.flatnonzero(centred.any(axis=0)) // BLOCK_WIDTH
    total, by_chance = np.zeros((2, len(other)))
    for at in np.unique(modality):
        mine = modality == at
        of_block = squares[:, mine].sum(axis=1)
        total += of_block
        by_chance += of_block * float((directions[mine] ** 2).sum(axis=1).mean())
    left = 1 - by_chance.sum() / total.sum()
    if left < 0.5:  # hardly more numbers than directions
        by_chance, left = by_chance * 0.5 / (1 - left), 0.5
    beyond = (held - by_chance) / left
    return Explained(beyond, beyond, total, np.zeros(len(total)))
