"""Properties here are checked on any machine, however busy: how long an example takes says nothing."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("resonance", deadline=None)
settings.load_profile("resonance")
