"""The reasons that the metrics count by. Each is shown from the start, at 0 (`GatewayMetrics`)."""

from __future__ import annotations

from enum import StrEnum


class Refusal(StrEnum):
    """Why a call was refused."""

    #: All places are taken, and as many wait as may.
    FULL = "full"
    #: It waited, and no place became free in time.
    QUEUE_TIMEOUT = "queue_timeout"
    #: As many live feeds as may be.
    LIVE_FEEDS = "live_feeds"
    #: As many streams of this caller as may be.
    CALLER_STREAMS = "caller_streams"
    #: More segments of earlier calls than may be held.
    STORED = "stored"
    #: No room on disk for an upload.
    SPOOL = "spool"
    #: No process could be started to read an upload.
    READER = "reader"
    #: Headers that are too large.
    HEADER_BYTES = "header_bytes"


class Kill(StrEnum):
    """Why a process that read an upload ended before its time."""

    #: Over its own limit of memory.
    MEMORY = "memory"
    CRASH = "crash"
    STALL = "stall"
    #: The machine ran out of memory or threads.
    SHORTAGE = "shortage"


class HandshakeFault(StrEnum):
    """Why a TLS handshake failed."""

    PLAIN_TEXT = "plain_text"
    NO_CERTIFICATE = "no_certificate"
    CERTIFICATE_EXPIRED = "certificate_expired"
    CERTIFICATE_UNKNOWN = "certificate_unknown"
    OLD_PROTOCOL = "old_protocol"
    NO_SHARED_CIPHER = "no_shared_cipher"
    REFUSED_BY_CLIENT = "refused_by_client"
    OTHER = "other"
