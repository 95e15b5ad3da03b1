"""How plans are built: the choices a user has."""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class HardwareCompatibility(StrEnum):
    """On which other GPUs a plan may run."""

    NONE = "none"  # the kind of GPU it was built on
    SAME_COMPUTE_CAPABILITY = "same-compute-capability"  # an H100's plan on an H200
    AMPERE_PLUS = "ampere-plus"  # Ampere and everything newer; the slowest


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """Choices for all plans of one build.

    Attributes:
        version_compatible: the plan carries a lean runtime and runs on later TensorRT of the same major.
        hardware_compatibility: on which other GPUs it runs.
        timing_cache: the file of timings; None for one of this user's, by GPU and version.
    """

    version_compatible: bool = False
    hardware_compatibility: HardwareCompatibility = HardwareCompatibility.NONE
    timing_cache: Path | None = None

    def cache_file(self, tensorrt_version: str, compute_capability: str) -> Path:
        """Where timings are kept between builds: a cache holds for one GPU and one TensorRT."""
        if self.timing_cache is not None:
            return self.timing_cache
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        return base / "resonance" / f"tensorrt-{tensorrt_version}-sm{compute_capability}.timing"
