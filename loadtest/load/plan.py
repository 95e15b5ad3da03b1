"""What the process that sends is told, as JSON in its arguments."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from resonance.loadtest.load.shapes import Shape, Step, steps


@dataclass(frozen=True, slots=True)
class Plan:
    """One run.

    Attributes:
        address: host:port of the gateway. users, seconds: of the shape.
        unloaded_s: how long single calls are measured before, beside the live feeds of `feed_s` seconds.
        unloaded_feeds: how many of them. ready_s: how long the gateway may take to answer at first.
        material: the folder of what is sent. journal, html: where its results go.
        certificate_file: PEM of who signed the gateway's certificate; empty: no TLS.
        token_file: a file with the token to send; empty: none.
    """

    address: str
    shape: Shape
    users: int
    seconds: float
    unloaded_s: float
    feed_s: float
    material: str
    journal: str
    html: str
    certificate_file: str = ""
    token_file: str = ""
    unloaded_feeds: int = 8
    ready_s: float = 30.0

    @classmethod
    def of(cls, text: str) -> Plan:
        """From its JSON."""
        fields = json.loads(text)
        return cls(**fields | {"shape": Shape(fields["shape"])})

    def to_json(self) -> str:
        """As it goes into the arguments."""
        return json.dumps(asdict(self))

    def steps(self) -> list[Step]:
        """Of its shape."""
        return steps(self.shape, self.users, self.seconds)

    def token(self) -> str:
        """What stands in the token's file; empty where there is none."""
        return Path(self.token_file).read_text(encoding="utf-8").strip() if self.token_file else ""
