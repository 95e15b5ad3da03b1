"""Golden inputs: this client and this server reproduce what export wrote beside space.json."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from resonance.clients.embedder import Embedder
from resonance.clients.media.picture import frame_to_rgb
from resonance.clients.transport import TritonTransport
from resonance.export.onnx_export import cpu_session, make_inputs
from resonance.export import contract
from resonance.serving.server import TritonServer
from resonance.space.descriptor import Descriptor


@pytest.fixture(scope="module")
def golden(model_repository: Path) -> dict[str, np.ndarray]:
    with np.load(model_repository / "space_descriptor" / "1" / "golden.npz") as file:
        return dict(file)


@pytest.mark.parametrize("model", [m for m in contract.GRAPHS], ids=lambda m: m.name)
async def test_triton_equals_bare_onnxruntime(
    model: contract.Model, server: TritonServer, model_repository: Path
) -> None:
    transport = TritonTransport(server.grpc_address)
    session = cpu_session(model_repository / model.name / "1" / "model.onnx")
    for seed, batch in enumerate((1, 4)):
        inputs = make_inputs(model, batch=batch, seed=seed)
        names = [t.name for t in model.outputs]
        got = await transport.infer(model.name, inputs, names, timeout_s=30)
        for name, want in zip(names, session.run(names, inputs), strict=True):
            np.testing.assert_allclose(got[name], want, atol=1e-5, rtol=1e-5)
    await transport.close()
