"""A machine's soft limit of open files is none for the gateway."""

from __future__ import annotations

import subprocess
import sys

SAYS = """
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (200, 400))
from resonance.serving.gateway.descriptors import allow_descriptors
print(allow_descriptors(), resource.getrlimit(resource.RLIMIT_NOFILE))
"""


def test_the_soft_limit_is_raised_to_the_hard_one() -> None:
    told = subprocess.run(
        [sys.executable, "-c", SAYS], capture_output=True, text=True, timeout=60, check=True
    )
    assert told.stdout == "400 (400, 400)\n"
