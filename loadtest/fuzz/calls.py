"""Bad calls: pure, and made from (seed, number) alone."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from random import Random
from typing import Any

from resonance.loadtest.fuzz.messages import spoil
from resonance.loadtest.fuzz.mutate import CHANGES, WEIGHTS, Material, random_of
from resonance.loadtest.fuzz.scripts import EMBED_MEDIA, SERVICE, Script

#: Over what the gateway takes in one message by default.
TOO_LARGE_BYTES = 17 << 20
#: Bytes of a whole call, but for those that are to be too large.
MOST_BYTES = 2 << 20
TINY_MESSAGES = 3_000


class End(StrEnum):
    """How the caller ends its side."""

    CLOSES = "closes"
    CANCELS = "cancels"
    GIVES_UP = "gives up"  # by a short deadline
    STAYS = "stays"  # sends nothing more, closes nothing, and cancels after a while


_ENDS = (End.CLOSES, End.CANCELS, End.GIVES_UP, End.STAYS)
_END_WEIGHTS = (84, 7, 5, 4)


@dataclass(frozen=True, slots=True)
class BadCall:
    """One call. after_s: when the caller cancels, gives up or leaves; changes: what was done to it."""

    number: int
    method: str
    script: str
    messages: tuple[bytes, ...]
    end: End
    after_s: float
    changes: tuple[str, ...]

    def to_bytes(self) -> bytes:
        """JSON with its messages in hexadecimal digits, to look at; the number makes the call again."""
        told: dict[str, Any] = {
            "number": self.number,
            "method": self.method,
            "script": self.script,
            "end": self.end,
        }
        told |= {
            "after_s": self.after_s,
            "changes": self.changes,
            "messages": [m.hex() for m in self.messages],
        }
        return json.dumps(told, indent=1).encode()


def make_call(scripts: Sequence[Script], material: Material, *, seed: int, number: int) -> BadCall:
    """Call `number` of the run `seed`."""
    random = random_of(seed, number, "rpc")
    script = random.choices(scripts, [s.weight for s in scripts])[0]
    messages = [copy.deepcopy(message) for message in script.messages]
    changes: list[str] = []
    for _ in range(min(1 + int(random.expovariate(0.8)), 8)):
        # the first message decides what becomes of the others
        at = 0 if random.random() < 0.4 else random.randrange(len(messages))
        spoil(messages[at], random, material)
        changes.append(f"field of {at}")
    raw = [message.SerializeToString() for message in messages]
    if script.method == EMBED_MEDIA and random.random() < 0.35:
        changes.append(_reorder(raw, scripts, random))
    if raw and (random.random() < 0.2 or not messages[0].DESCRIPTOR.fields):
        at = random.randrange(len(raw))
        changed = bytearray(raw[at])
        for _ in range(random.choice((1, 1, 2, 4))):
            random.choices(CHANGES, WEIGHTS)[0][1](changed, random, material)
        raw[at] = bytes(changed)
        changes.append(f"bytes of {at}")
    raw = _bounded(raw)
    if random.random() < 0.002:
        raw = [*raw[:1], bytes(TOO_LARGE_BYTES)]
        changes.append("too large")
    end = random.choices(_ENDS, _END_WEIGHTS)[0]
    after_s = random.choice((0.0, 0.001, 0.005, 0.02, 0.1))
    method = (
        f"{SERVICE}{random.choice(('Nothing', 'embedmedia', ''))}"
        if random.random() < 0.01
        else script.method
    )
    return BadCall(number, method, script.name, tuple(raw), end, after_s, tuple(changes))


def _reorder(raw: list[bytes], scripts: Sequence[Script], random: Random) -> str:
    """Lose, repeat, turn or borrow messages of a stream; what was done."""
    what = random.choice(("drop", "repeat", "swap", "break off", "borrow", "shuffle", "tiny", "nothing"))
    at = random.randrange(len(raw))
    if what == "drop":
        del raw[at]
    elif what == "repeat":
        raw[at:at] = [raw[at]] * random.choice((1, 1, 2, 30))
    elif what == "swap":
        other = random.randrange(len(raw))
        raw[at], raw[other] = raw[other], raw[at]
    elif what == "break off":
        del raw[at:]
    elif what == "borrow":
        others = [s for s in scripts if s.method == EMBED_MEDIA]
        raw.insert(at, random.choice(random.choice(others).messages).SerializeToString())
    elif what == "shuffle":
        rest = raw[1:]
        random.shuffle(rest)
        raw[1:] = rest
    elif what == "tiny" and random.random() < 0.1:
        raw[at:at] = [raw[at] if len(raw[at]) < 64 else b""] * TINY_MESSAGES
    elif what == "nothing":
        raw.insert(at, b"")
    return what


def _bounded(raw: list[bytes]) -> list[bytes]:
    total = 0
    for place, message in enumerate(raw):
        total += len(message)
        if total > MOST_BYTES:
            return raw[:place]
    return raw
