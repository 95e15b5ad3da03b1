"""The two collections of Qdrant that a library of titles is kept in, embedded or a server."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from qdrant_client import QdrantClient, models

from resonance.clients.credentials import is_loopback
from resonance.clients.errors import CredentialsError, UsageError, described
from resonance.clients.ingest.errors import StoreError
from resonance.clients.ingest.qdrant_place import QdrantPlace
from resonance.clients.ingest.qdrant_points import CONTENT_HASH, DAY, MEDIA_ID, VERSION, payload_of, title_id
from resonance.clients.ingest.rows import FINGERPRINT_KEY, SPACE_KEY, TRAINED_KEY
from resonance.clients.results import SpaceRef
from resonance.space.descriptor import MODALITIES, TITLE_WIDTH
from resonance.space.errors import SpaceMismatchError

API_KEY_VARIABLE = "QDRANT_API_KEY"
_TIMEOUT_S = 60
#: What readers and viewers filter by. Of a title its name needs none: its point is named after it.
_LABELS = dict.fromkeys(("tags", "language"), models.PayloadSchemaType.KEYWORD)
_PRESENT = {f"present.{modality}": models.PayloadSchemaType.BOOL for modality in MODALITIES}
_NAMES = dict.fromkeys((MEDIA_ID, VERSION), models.PayloadSchemaType.KEYWORD)
_DAY = {DAY: models.PayloadSchemaType.DATETIME}
_INDEXED = {"titles": _LABELS | _PRESENT | _DAY, "segments": _NAMES | _LABELS | _PRESENT}
#: Keys of the metadata that the space is kept in.
_FINGERPRINT, _SPACE, _TRAINED = (key.decode() for key in (FINGERPRINT_KEY, SPACE_KEY, TRAINED_KEY))
EXPECTED_QDRANT = "a Qdrant that answers, or a folder nobody else uses"
EXPECTED_METADATA = "Qdrant 1.16 or newer, which keeps metadata of collections"


class Collections:
    """The two collections of a place.

    Raises:
        CredentialsError: the key would travel in the open. StoreError: Qdrant failed.
    """

    def __init__(self, uri: str, place: QdrantPlace) -> None:
        self.uri, self.place = uri, place
        self.titles, self.segments = f"{place.name}-titles", f"{place.name}-segments"
        key = os.environ.get(API_KEY_VARIABLE)
        with self.named():
            if place.url is None:
                self.client = QdrantClient(path=str(place.folder))
            else:
                if key and place.url.startswith("http:") and not is_loopback(urlsplit(place.url).netloc):
                    raise CredentialsError(
                        f"{uri}: {API_KEY_VARIABLE} would travel in the open; expected qdrants://"
                    )
                self.client = QdrantClient(
                    url=place.url, api_key=key, timeout=_TIMEOUT_S, check_compatibility=False
                )

    def space(self) -> SpaceRef | None:
        """That of the vectors, None where there is no such collection."""
        with self.named():
            if not self.client.collection_exists(self.titles):
                return None
            found = self._metadata(self.titles)
        if _FINGERPRINT not in found:
            raise StoreError(
                self.uri,
                f"a collection {self.titles} of something else",
                "another name, or one that `resonance ingest` made in Qdrant 1.16 or newer",
            )
        return SpaceRef(str(found[_SPACE]), str(found[_FINGERPRINT]), bool(found[_TRAINED]))

    def make(self, space: SpaceRef) -> None:
        """Make what is not there; the one of titles last, for it says that all is there.

        Raises:
            StoreError: Qdrant failed, or does not keep the space; then nothing was made.
        """
        metadata = {_FINGERPRINT: space.fingerprint, _SPACE: space.name, _TRAINED: space.trained}
        # Vectors stay on disk: at 7 KB each, a million segments are 7 GB, and a search by HNSW reads few.
        vectors = models.VectorParams(size=TITLE_WIDTH, distance=models.Distance.DOT, on_disk=True)
        with self.named():
            for kind, name in (("segments", self.segments), ("titles", self.titles)):
                if not self.client.collection_exists(name):
                    self.client.create_collection(name, vectors_config=vectors, metadata=metadata)
                    if _FINGERPRINT not in self._metadata(name):  # an older server passes the field over
                        self.client.delete_collection(name)
                        raise StoreError(
                            self.uri, "a Qdrant that does not keep the space of a store", EXPECTED_METADATA
                        )
                if self.place.url is not None:  # the embedded one looks at every point anyway
                    for field, type_ in _INDEXED[kind].items():
                        self.client.create_payload_index(name, field, type_)

    def _metadata(self, name: str) -> dict[str, Any]:
        return self.client.get_collection(name).config.metadata or {}

    def count(self) -> int:
        """Titles."""
        with self.named():
            return self.client.count(self.titles, exact=True).count

    def versions(self, media_ids: Collection[str]) -> dict[str, str]:
        """The version of each title that is there, by media id."""
        wanted = [title_id(media_id) for media_id in media_ids]
        found = self.client.retrieve(self.titles, wanted, with_payload=[MEDIA_ID, CONTENT_HASH])
        return {payload_of(point)[MEDIA_ID]: payload_of(point)[CONTENT_HASH] for point in found}

    @contextmanager
    def named(self) -> Iterator[None]:
        """Errors of Qdrant name the store."""
        try:
            yield
        except (StoreError, SpaceMismatchError, UsageError):
            raise
        except Exception as error:  # of HTTP, of the server, of SQLite, and a folder that another one has
            came = described(error, self.uri)
            raise StoreError(self.uri, came, EXPECTED_QDRANT) from error

    def close(self) -> None:
        self.client.close()


def version_filter(media_id: str, version: str) -> models.Filter:
    """The segments of one version of a title."""
    return models.Filter(must=[_is(MEDIA_ID, media_id), _is(VERSION, version)])


def other_versions(media_id: str, version: str) -> models.Filter:
    """Those of all its other versions."""
    return models.Filter(must=[_is(MEDIA_ID, media_id)], must_not=[_is(VERSION, version)])


def titles_filter(media_ids: Sequence[str]) -> models.Filter:
    """The segments of all versions of some titles."""
    return models.Filter(must=[is_of(media_ids)])


def is_of(media_ids: Sequence[str]) -> models.FieldCondition:
    """That a segment is of one of some titles."""
    return models.FieldCondition(key=MEDIA_ID, match=models.MatchAny(any=list(media_ids)))


def _is(key: str, value: str) -> models.FieldCondition:
    return models.FieldCondition(key=key, match=models.MatchValue(value=value))
