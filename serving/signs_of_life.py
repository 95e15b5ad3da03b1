"""What a gateway says to the supervisor that listens to it."""

from __future__ import annotations

#: In the gateway's environment, where somebody listens to its signs of life.
SUPERVISED_VARIABLE = "RESONANCE_SUPERVISED"
#: A line on its stdout that says its event loop turns, every `SIGN_INTERVAL_S`.
SIGN_OF_LIFE = "alive"
SIGN_INTERVAL_S = 1.0
