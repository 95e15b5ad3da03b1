"""Qdrant's own storage engine with its approximate index, as its server has it.

The server's binary is in no package registry, its engine is (qdrant-edge): the same segments, HNSW graphs and
quantisation, called in this process instead of over HTTP.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import qdrant_edge as edge
from numpy.typing import NDArray

#: As `QdrantClient.upsert` would send them.
AT_ONCE = 1000


@dataclass(slots=True)
class Engine:
    """A collection of vectors compared by dot product, numbered as they are added."""

    shard: edge.EdgeShard
    count: int = 0

    @classmethod
    def create(
        cls,
        folder: Path,
        width: int,
        *,
        quantisation: edge.ScalarQuantizationConfig | edge.BinaryQuantizationConfig | None = None,
        m: int = 16,
        ef_construct: int = 100,
    ) -> Engine:
        """One with HNSW as Qdrant's defaults have it; vectors on disk, `quantisation` in memory."""
        folder.mkdir(parents=True)
        hnsw = edge.HnswIndexConfig(m, ef_construct, 10_000)
        config = edge.EdgeConfig(
            vectors=edge.EdgeVectorParams(width, edge.Distance.Dot, on_disk=True),
            hnsw_config=hnsw,
            quantization_config=quantisation,
        )
        return cls(edge.EdgeShard.create(str(folder), config))

    def add(self, vectors: NDArray[np.float32]) -> None:
        """Store vectors [N, width]."""
        for start in range(0, len(vectors), AT_ONCE):
            part = vectors[start : start + AT_ONCE]
            points = [edge.Point(self.count + i, row.tolist(), {}) for i, row in enumerate(part)]
            self.shard.update(edge.UpdateOperation.upsert_points(points))
            self.count += len(part)

    def index(self) -> None:
        """Build what is approximate."""
        self.shard.optimize()
        self.shard.flush()

    def nearest(
        self,
        vector: NDArray[np.floating],
        limit: int,
        *,
        ef: int | None = None,
        oversampling: float | None = None,
    ) -> Sequence[int]:
        """Numbers of the nearest, best first."""
        quantised = None if oversampling is None else edge.QuantizationSearchParams(False, True, oversampling)
        request = edge.QueryRequest(
            limit,
            query=edge.Query.Nearest(np.asarray(vector, np.float32).tolist()),
            params=edge.SearchParams(hnsw_ef=ef, quantization=quantised),
        )
        return [int(point.id) for point in self.shard.query(request)]
