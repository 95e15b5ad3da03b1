"""Features of a user's own media: what the frozen encoders say before their projections, cached on disk.

One file a title; a title that is already there is not read again, so a stopped run goes on.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from resonance.clients.errors import MediaError
from resonance.clients.ingest.folders import Given, local_folder
from resonance.clients.ingest.manifest import FaultyRow
from resonance.clients.media.clip import NoFramesError, decode_clip
from resonance.clients.media.reader import MediaReader, open_media
from resonance.clients.media.sidecars import find_sidecar
from resonance.clients.media.types import Clip, Frames, SegmentInput
from resonance.clients.new_files import whole_file
from resonance.clients.paths import is_file, is_folder
from resonance.export.cards import FamilyCard
from resonance.export.contract import ENCODERS
from resonance.export.weights import weights_sha256
from resonance.space.descriptor import MODALITIES, Descriptor


class FeatureError(ValueError):
    """An encoder says what cannot be learned from; the message says what it says."""


class ManifestError(ValueError):
    """A manifest cannot be used; the message names file, line and field."""


#: As of `resonance ingest`, which reads Parquet too.
MANIFEST_SUFFIXES = (".csv", ".jsonl", ".ndjson")


@dataclass(frozen=True, slots=True)
class Entry:
    """One title to learn from.

    Attributes:
        group: whose it is, where the loss is to treat groups alike.
        media_id: its name in a store that was ingested from the same source.
        problem: why it gives no title, of what is known before it is read.
    """

    path: Path
    transcript: Path | None = None
    group: str = ""
    media_id: str = ""
    problem: str = ""


def entries(source: Path) -> list[Entry]:
    """The titles in a folder and below it, as `resonance ingest` finds them; or the rows of a manifest.

    A manifest is CSV or JSON lines with `path` and optionally `transcript`, `group` and `id`; paths are
    relative to it.

    Raises:
        ManifestError: no such file, one of another name's end than `MANIFEST_SUFFIXES` or that is no CSV or
            JSON lines in UTF-8, no `path`, or a row or field that is none.
    """
    if is_folder(source):
        return [_found(given) for given in local_folder(source)]
    if not is_file(source):
        raise ManifestError(f"{source}: no such folder or manifest")
    kind = source.suffix.lower()
    if kind not in MANIFEST_SUFFIXES:
        raise ManifestError(
            f"{source}: its name ends in '{source.suffix}'; expected a folder, or a manifest in "
            f"{', '.join(MANIFEST_SUFFIXES)}"
        )
    try:
        with source.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file) if kind == ".csv" else _json_lines(source, file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ManifestError(
            f"{source}: it cannot be read ({error}); expected CSV or JSON lines in UTF-8"
        ) from error
    return [_entry(source.parent, row, f"{source}: row {number}") for number, row in enumerate(rows, start=1)]


def _found(given: Given) -> Entry:
    if isinstance(given, FaultyRow):
        return Entry(Path(given.where), problem=str(given.error))
    return Entry(Path(given.uri), media_id=given.media_id)


def _entry(folder: Path, row: Mapping[str | None, Any], where: str) -> Entry:
    if None in row:
        raise ManifestError(f"{where} has more fields than there are columns; expected commas within quotes")
    path, transcript, group, media_id = (
        _text(row.get(name), f"{where}: '{name}'") for name in ("path", "transcript", "group", "id")
    )
    if not path:
        raise ManifestError(f"{where} has no 'path'; it has {sorted(map(str, row))}")
    return Entry(folder / path, folder / transcript if transcript else None, group, media_id)


def _text(value: Any, where: str) -> str:
    """Of text or a whole number, which names of groups and titles may be; of nothing, nothing."""
    if value is None or isinstance(value, str):
        return value or ""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise ManifestError(f"{where} is {json.dumps(value)}; expected text")


def _json_lines(source: Path, lines: Iterable[str]) -> Iterator[dict[str | None, Any]]:
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise ManifestError(f"{source}: line {number} is not JSON ({error})") from error
            if not isinstance(row, dict):
                raise ManifestError(f"{source}: line {number} is {type(row).__name__}; expected an object")
            yield row


@dataclass(frozen=True, slots=True)
class TitleFeatures:
    """What the encoders say of one title's S segments, before their projections.

    features: by modality float32 [S, hidden], zeros where absent; present bool [S, 3]; times_s float32 [S].
    group: whose it is (see `Entry`). audited: its group in each grouping of `resonance.training.fairness`.
        Both are said of a title and are not in what it holds, so they are not stored.
    """

    features: Mapping[str, np.ndarray]
    present: np.ndarray
    times_s: np.ndarray
    group: str = ""
    audited: tuple[int, ...] = ()


class FeatureExtractor:
    """The frozen encoders of a family over segments as the client reads them."""

    def __init__(self, card: FamilyCard) -> None:
        graphs = {graph.model: graph.build().eval() for graph in card.graphs}
        self.modules = {m: graphs[name] for m, name in zip(MODALITIES, ENCODERS, strict=True)}
        weights = {name: weights_sha256(graph) for name, graph in graphs.items()}
        self.descriptor: Descriptor = card.describe(weights)
        self.tokenizer = card.tokenizer()
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(self.descriptor.transcript.max_tokens)

    @torch.inference_mode()
    def title(self, entry: Entry) -> TitleFeatures:
        """Read and encode one title.

        Raises:
            MediaError: it cannot be read, or has no segment with content.
        """
        rows: list[dict[str, np.ndarray]] = []
        times_s: list[float] = []
        with open_media(entry.path, self.descriptor, transcript=entry.transcript) as reader:
            for segment in reader.segments():
                row = self._segment(segment, reader)
                if row:
                    rows.append(row)
                    nominal_s = len(times_s) * self.descriptor.segment.length_s
                    times_s.append(nominal_s if segment.start_s is None else segment.start_s)
        present = np.array([[m in row for m in MODALITIES] for row in rows], bool).reshape(-1, 3)
        features = {}
        for modality, module in self.modules.items():
            features[modality] = np.zeros((len(rows), projection_of(module).in_features), np.float32)
            for i, row in enumerate(rows):
                if modality in row:
                    features[modality][i] = row[modality]
        return TitleFeatures(features, present, np.asarray(times_s, np.float32))

    def _segment(self, segment: SegmentInput, reader: MediaReader) -> dict[str, np.ndarray]:
        found = {}
        frames = self._frames(segment, reader)
        if frames is not None:
            found["visual"] = self._features("visual", frames.pixels, frames.mask, frames.times_s)
        if segment.pcm is not None:
            length = np.array([segment.pcm.length], np.int64)
            found["audio"] = self._features("audio", segment.pcm.samples, length)
        if segment.text:
            ids = np.asarray(self.tokenizer.encode(segment.text).ids, np.int64)
            padded = self._padded(ids)
            mask = (np.arange(padded.size) < ids.size).astype(np.int64)
            found["transcript"] = self._features("transcript", padded, mask)
        return found

    def _padded(self, ids: np.ndarray) -> np.ndarray:
        length = self.descriptor.transcript.padded_length(ids.size)
        return np.pad(ids, (0, length - ids.size))

    def _frames(self, segment: SegmentInput, reader: MediaReader) -> Frames | None:
        if not isinstance(segment.video, Clip):
            return segment.video
        try:
            return decode_clip(segment.video, self.descriptor.frames)
        except NoFramesError:  # a keyframe that decodes to nothing: the stretch in order, as the client does
            return reader.decode_segment(segment)

    def _features(self, modality: str, *inputs: np.ndarray) -> np.ndarray:
        """The input of the encoder's projection, float32 [hidden]."""
        module = self.modules[modality]
        kept: list[torch.Tensor] = []
        hook = projection_of(module).register_forward_pre_hook(lambda _, given: kept.append(given[0]))
        try:
            module(*(torch.from_numpy(np.ascontiguousarray(x))[None] for x in inputs))
        finally:
            hook.remove()
        return kept[0][0].float().numpy()


def projection_of(module: nn.Module) -> nn.Linear:
    """The head of an encoder graph: every family's has one under this name."""
    projection = module.get_submodule("projection")
    if not isinstance(projection, nn.Linear):
        raise TypeError(f"the projection of {type(module).__name__} is {type(projection).__name__}")
    return projection


def cache_features(
    extractor: FeatureExtractor,
    titles: list[Entry],
    folder: Path,
    *,
    on_title: Callable[[int, int, str], None] = lambda done, total, problem: None,
) -> list[Path | None]:
    """Encode every title that is not in `folder` yet; returns the file of each, in their order.

    A title that cannot be read or encoded is reported through `on_title` with its error and has no file.

    Raises:
        OSError: `folder` takes no file, which is no fault of a title: none that follows would have one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files: list[Path | None] = []
    for done, entry in enumerate(titles, start=1):
        problem = entry.problem
        path = feature_file(extractor.descriptor, entry, folder)
        if not problem and not path.exists():
            problem = _encode(extractor, entry, path)
        files.append(path if path.exists() else None)
        on_title(done, len(titles), problem)
    return files


def _encode(extractor: FeatureExtractor, entry: Entry, path: Path) -> str:
    """Write one title's features to `path`; why there are none, else nothing."""
    try:
        title = extractor.title(entry)
    except (MediaError, FeatureError, OSError) as error:
        # errors of media begin with the path
        return f"{entry.path}: {str(error).removeprefix(f'{entry.path}: ')}"
    if not len(title.present):
        return f"{entry.path}: no segment with content"
    try:
        save_features(path, title)
    except FeatureError as error:
        return f"{entry.path}: {error}"
    return ""


def feature_file(descriptor: Descriptor, entry: Entry, folder: Path) -> Path:
    """Where a title's features are: changes with the file, its transcript and the encoders.

    A transcript that a manifest names counts though it is not there: a title without words is another.
    """
    paths = (entry.path, entry.transcript or find_sidecar(entry.path))
    # "": where a title's group once stood. Without it, all that was encoded before would be encoded again.
    parts = [descriptor.fingerprint, "", *(_identity(path) for path in paths if path is not None)]
    key = hashlib.sha256("\n".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:32]
    return folder / f"{key}.npz"


def _identity(path: Path) -> str:
    """Of a file: where it is, its size and when it was changed."""
    try:
        stat = path.stat()
        return f"{path.resolve()}\n{stat.st_size}\n{stat.st_mtime_ns}"
    except (OSError, ValueError):  # ValueError: a name with a zero byte
        return f"{path}\nnot there"


def save_features(path: Path, title: TitleFeatures) -> None:
    """Write one title, whole or not at all; features are rounded to float16.

    Raises:
        FeatureError: a number is not finite, or beyond what float16 holds; training would end in NaN.
        OSError: it cannot be written.
    """
    with np.errstate(over="ignore"):
        rounded = {modality: values.astype(np.float16) for modality, values in title.features.items()}
    for modality, values in rounded.items():
        if not np.isfinite(values).all():
            worst = np.abs(title.features[modality]).max()
            raise FeatureError(
                f"the {modality} encoder says numbers up to {worst:g}; expected finite ones up to "
                f"{np.finfo(np.float16).max:g}: look at its weights (--checkpoint)"
            )
    arrays = io.BytesIO()  # into a file that finds no room, numpy's archive ends in tracebacks of its own
    np.savez(arrays, present=title.present, times_s=title.times_s, **rounded)
    with whole_file(path) as half:
        half.write_bytes(arrays.getbuffer())


def load_features(files: Iterable[Path]) -> list[TitleFeatures]:
    """Titles as `cache_features` stored them."""
    titles = []
    for path in files:
        with np.load(path, allow_pickle=False) as stored:
            titles.append(
                TitleFeatures(
                    {m: stored[m].astype(np.float32) for m in MODALITIES},
                    stored["present"],
                    stored["times_s"],
                )
            )
    return titles
