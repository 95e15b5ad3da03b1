"""What calls share, without a gateway around it and with no model but the one that tells the space."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from resonance.clients.served_space import ServedSpace
from resonance.clients.transport import Tensors
from resonance.serving.gateway.admission import Admission
from resonance.serving.gateway.limits import GatewayLimits
from resonance.serving.gateway.metrics import GatewayMetrics
from resonance.serving.gateway.reading import MemoryBudget, SpoolBudget
from resonance.serving.gateway.shared import Shared
from resonance.serving.gateway.tracing import Tracing
from resonance.space.descriptor import Descriptor


class SpaceAlone:
    """A Triton that tells its space; no call here comes as far as its other models."""

    def __init__(self, descriptor: Descriptor) -> None:
        self._descriptor = descriptor

    async def infer(
        self, model: str, inputs: Tensors, outputs: object, *, timeout_s: float
    ) -> dict[str, Any]:
        assert model == "space_descriptor"
        return {"SPACE": np.array([self._descriptor.to_json().encode()], object)}

    async def close(self) -> None:
        """Nothing is held."""


def shared_of(model_repository: Path, folder: Path, limits: GatewayLimits) -> Shared:
    """For calls that keep uploads in `folder`."""
    descriptor = Descriptor.load(model_repository / "space_descriptor" / "1" / "space.json")
    transport, metrics = SpaceAlone(descriptor), GatewayMetrics(gpu=False)
    return Shared(
        transport=transport,
        served=ServedSpace(transport, timeout_s=5.0),
        limits=limits,
        admission=Admission(limits, metrics.call_refused),
        metrics=metrics,
        tracing=Tracing(),
        budget=SpoolBudget(limits.max_spool_bytes),
        memory=MemoryBudget(limits.all_readers_memory_bytes),
        spool_folder=folder,
    )
