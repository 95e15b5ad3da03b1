"""Loads one model again: the way back from a dead stub process."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping

from google.protobuf import json_format
from tritonclient.grpc import InferenceServerClient

from resonance.serving.readiness import probe

_RELOADED = "resonance_reloaded_ns"


def reload_model(
    client: InferenceServerClient, name: str, timeout_s: float, headers: Mapping[str, str] | None = None
) -> None:
    """Load model `name` anew and send one inference through it.

    Triton ignores a load when nothing of the model changed, and keeps the processes when only their
    number did. So the config in force is sent along with a parameter that no backend reads. The new
    processes start before the old are given up.

    Args:
        headers: what Triton wants to see for a load (`admin.grpc_headers`).

    Raises:
        InferenceServerException: Triton refused to load it.
        RepositoryError: it was loaded and fails its probe.
    """
    config = client.get_model_config(name, client_timeout=timeout_s).config
    config.parameters[_RELOADED].string_value = str(time.time_ns())
    text = json.dumps(json_format.MessageToDict(config, preserving_proto_field_name=True))
    client.load_model(name, config=text, headers=dict(headers or {}), client_timeout=timeout_s)
    probe(client, name, timeout_s)
