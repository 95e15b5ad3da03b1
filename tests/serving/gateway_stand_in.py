"""Stands in for the gateway where only its process matters: the ready line, SIGTERM, its end.

gateway_stand_in.py PORT LOG [OPTION…]: notes in LOG what happens to it. With the option ``--broken`` it
ends before it is ready.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import sys
import time
from types import FrameType
from typing import Never


def note(word: str) -> None:
    with open(sys.argv[2], "a") as log:
        log.write(f"{word} {time.monotonic()}\n")


def drain(number: int, frame: FrameType | None) -> Never:
    note("drains")
    time.sleep(0.5)
    note("drained")
    sys.exit(0)


def main() -> None:
    if "--broken" in sys.argv:
        print("what is wrong with it", file=sys.stderr)
        sys.exit(1)
    signal.signal(signal.SIGTERM, drain)
    with socket.create_server(("127.0.0.1", int(sys.argv[1]))) as door:
        keys = [value for value in os.environ.values() if re.fullmatch("[0-9a-f]{64}", value)]
        note(f"started keys={len(keys)}")  # keys of administration: none
        metrics = 1 + os.getpid() % 60_000  # another with each start, as --metrics-port=0 gives
        print(f"ready gateway=127.0.0.1:{door.getsockname()[1]} metrics=127.0.0.1:{metrics}", flush=True)
        while True:
            print("alive", flush=True)
            time.sleep(0.2)


if __name__ == "__main__":
    main()
