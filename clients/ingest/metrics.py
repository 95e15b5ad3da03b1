"""What monitoring sees of a job: /metrics for Prometheus."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from prometheus_client import CollectorRegistry, Counter, Gauge, start_http_server

from resonance.clients.errors import UsageError
from resonance.clients.ingest.embedding import Outcome


class IngestMetrics:
    """Counts titles, and knows the age of the oldest upload that is not embedded. Use as a context manager.

    Args:
        port: of the loopback, 0 for any; None: nothing listens.
        knows_waiting: it is told of titles that wait (`seen`, `gone`); otherwise no metric speaks of them.

    Raises:
        UsageError: the port is taken, or none.

    Attributes:
        port: the one that it listens on.
    """

    def __init__(self, port: int | None, *, knows_waiting: bool = True) -> None:
        registry = CollectorRegistry()
        self._titles = Counter(
            "resonance_ingest_titles", "Titles by what became of them.", ["result"], registry=registry
        )
        self._media_s = Counter(
            "resonance_ingest_media_seconds", "Seconds of media embedded.", registry=registry
        )
        self._seen_s: dict[str, float] = {}  # Unix time by media id
        if knows_waiting:
            under_way = Gauge("resonance_ingest_titles_under_way", "Titles under way.", registry=registry)
            under_way.set_function(lambda: len(self._seen_s))
            oldest = Gauge(
                "resonance_ingest_oldest_unembedded_age_seconds",
                "Since the oldest upload that is not embedded was first seen; 0 where there is none.",
                registry=registry,
            )
            oldest.set_function(self.oldest_age_s)
        self._server = None
        self.port = None
        if port is not None:
            try:
                self._server, _ = start_http_server(port, addr="127.0.0.1", registry=registry)
            except (OSError, OverflowError) as error:  # the latter: of a port above 65,535
                raise UsageError(
                    f"--metrics-port {port}: it cannot be listened on ({error}); expected a free port, or 0"
                ) from error
            self.port = self._server.server_port

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()

    def seen(self, media_id: str, seen_at_s: float) -> None:
        """A title waits to be embedded since `seen_at_s`, Unix time; of several times the first counts.

        `media_id`: as the catalogue names it; `gone` is told the same name.
        """
        self._seen_s.setdefault(media_id, seen_at_s)

    def gone(self, media_id: str) -> None:
        """A title waits no more: it came to its end, or was taken away."""
        self._seen_s.pop(media_id, None)

    def done(self, outcome: Outcome) -> None:
        """Something became of a title."""
        self._titles.labels(result=str(outcome.result)).inc()
        self._media_s.inc(outcome.duration_s)

    def oldest_age_s(self) -> float:
        """Seconds; 0 where nothing waits."""
        return max(time.time() - min(self._seen_s.values()), 0.0) if self._seen_s else 0.0
