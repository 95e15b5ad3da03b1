"""Callers may infer; what changes a server is refused to them, over gRPC and over HTTP."""

from __future__ import annotations

import urllib.error
import urllib.request
from pathlib import Path

import pytest
from tritonclient.grpc import InferenceServerClient
from tritonclient.utils import InferenceServerException

from resonance.serving import admin, process
from resonance.serving.readiness import probe

REFUSED = {
    "load": lambda c, h: c.load_model("slow", headers=h),
    "unload": lambda c, h: c.unload_model("slow", headers=h),
    "index": lambda c, h: c.get_model_repository_index(headers=h),
    "shared memory": lambda c, h: c.register_system_shared_memory("mine", "/resonance", 64, headers=h),
    "shared memory of a GPU": lambda c, h: c.register_cuda_shared_memory("mine", b"", 0, 64, headers=h),
    "shared memory status": lambda c, h: c.get_system_shared_memory_status(headers=h),
    "trace": lambda c, h: c.update_trace_settings(settings={"trace_file": "mine"}, headers=h),
    "trace status": lambda c, h: c.get_trace_settings(headers=h),
    "log": lambda c, h: c.update_log_settings({"log_file": "mine"}, headers=h),
    "log status": lambda c, h: c.get_log_settings(headers=h),
}
HTTP_REFUSED = [
    "repository/index",
    "repository/models/slow/load",
    "repository/models/slow/unload",
    "systemsharedmemory/region/mine/register",
    "systemsharedmemory/unregister",
    "cudasharedmemory/region/mine/register",
    "trace/setting",
    "models/slow/trace/setting",
    "logging",
]


@pytest.mark.parametrize("what", REFUSED)
@pytest.mark.parametrize("key", [None, "", "0" * 64])
def test_grpc_refuses_callers(small_server, what, key):
    headers = None if key is None else dict(admin.grpc_headers(key))
    with InferenceServerClient(small_server.grpc_address) as client:
        with pytest.raises(InferenceServerException, match=admin.REFUSED):
            REFUSED[what](client, headers)
        probe(client, "slow", timeout_s=5)  # it is there as before


@pytest.mark.parametrize("path", HTTP_REFUSED)
def test_http_refuses_callers(small_server, path):
    request = urllib.request.Request(f"http://{small_server.http_address}/v2/{path}", b"{}", method="POST")
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=5)
    assert caught.value.code == 403
    assert b"This API is restricted" in caught.value.read()


def test_the_key_opens_them(small_server):
    headers = dict(admin.grpc_headers(small_server.key))
    with InferenceServerClient(small_server.grpc_address) as client:
        index = client.get_model_repository_index(headers=headers)
        assert sorted(m.name for m in index.models) == small_server.models
        client.get_trace_settings(headers=headers)


def test_what_callers_and_gateways_need_is_open(small_server):
    with InferenceServerClient(small_server.grpc_address) as client:
        assert client.is_server_ready()
        assert client.is_model_ready("encoder")
        assert client.get_model_metadata("encoder").name == "encoder"
        assert client.get_model_config("encoder").config.name == "encoder"
        assert client.get_inference_statistics("encoder").model_stats


def test_no_other_user_of_the_machine_can_read_the_key(small_server):
    readable = Path(f"/proc/{small_server.pid}/cmdline").read_text()
    assert "resonance-admin=****" in readable  # it was there, and nothing else than the key is gone
    assert "--load-model=slow" in readable
    assert small_server.key not in readable
    assert small_server.key not in small_server.log_path.read_text()


def test_models_do_not_inherit_the_key(small_server):
    for pid in (small_server.pid, *process.stubs(small_server.pid)):
        for file in ("cmdline", "environ"):
            assert small_server.key not in Path(f"/proc/{pid}/{file}").read_text(errors="replace")
