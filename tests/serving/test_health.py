"""Health that is told by inferences, against a real Triton whose processes are stopped and kept busy."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import shutil
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from tritonclient.grpc import InferInput, model_config_pb2, service_pb2
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from resonance.clients.in_flight import MOST_LEFT
from resonance.serving import admin, process
from resonance.serving.health import ModelHealth
from resonance.serving.health_probe import Asker
from resonance.serving.server import ServerSettings, TritonServer
from tests.serving.small_repository import WIDTH, write_config

INTERVAL_S, TIMEOUT_S = 0.4, 0.8
#: The timeout where models that are well must go on serving: no stall of a busy machine lasts so long.
PATIENT_S = 3.0
#: What a look, a machine of two busy cores and Triton's own check of its stub (1 s) may add.
SLACK_S = 2.5
ALL = {"encoder", "inverse", "lookup", "slow", "whole", "chain"}


@pytest.fixture(scope="module")
def repository(small_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small repository and an ensemble of one step, `encoder`."""
    folder = Path(shutil.copytree(small_repository, tmp_path_factory.mktemp("ensemble") / "models"))
    config = model_config_pb2.ModelConfig(name="chain", platform="ensemble", max_batch_size=64)
    config.input.add(name="X", data_type=model_config_pb2.TYPE_FP32, dims=[-1, WIDTH])
    config.output.add(name="Y", data_type=model_config_pb2.TYPE_FP32, dims=[4])
    step = config.ensemble_scheduling.step.add(model_name="encoder", model_version=-1)
    step.input_map["X"] = "X"
    step.output_map["Y"] = "Y"
    write_config(folder, config)
    return folder


@pytest.fixture(scope="module")
def server(repository: Path) -> Iterator[TritonServer]:
    with TritonServer(ServerSettings(model_repository=repository, drain_s=1)) as running:
        yield running


@pytest.fixture
async def health(server: TritonServer) -> AsyncIterator[ModelHealth]:
    async with looking(server) as found:
        yield found


@pytest.fixture
async def patient(server: TritonServer) -> AsyncIterator[ModelHealth]:
    async with looking(server, timeout_s=PATIENT_S) as found:
        yield found


@asynccontextmanager
async def looking(
    server: TritonServer, *, interval_s: float = INTERVAL_S, timeout_s: float = TIMEOUT_S
) -> AsyncIterator[ModelHealth]:
    """Health of `server`, once everything serves."""
    health = ModelHealth(server.grpc_address, interval_s=interval_s, timeout_s=timeout_s)
    task = asyncio.create_task(health.run())
    try:
        await until(health, lambda: health.serving)
        yield health
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled()  # and did not fail before


async def until(health: ModelHealth, holds: Callable[[], bool], within_s: float = 20.0) -> float:
    """Seconds until `holds`."""
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < within_s, dict(health.snapshot())
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(health.wait_changed(), 0.1)
    return time.monotonic() - began


def stub(server: TritonServer, model: str) -> int:
    return next(pid for pid, name in process.stubs(server.pid).items() if name == model)


def seconds(value: float) -> list[InferInput]:
    tensor = InferInput("SECONDS", [1], "FP32")
    tensor.set_data_from_numpy(np.array([value], np.float32))
    return [tensor]


async def test_every_model_is_found_and_asked(health):
    states = health.snapshot()
    assert states.keys() == ALL
    assert all(state.serving and not state.reason and not state.failures for state in states.values())
    later = {}
    while not later or any(later[n].checked_s == states[n].checked_s for n in ALL):
        await asyncio.sleep(0.05)
        later = health.snapshot()
    assert all(later[n].since_s == states[n].since_s for n in ALL)  # asked again, as before


async def test_a_stopped_stub_is_noticed_in_time_and_the_others_serve(server, patient):
    health = patient
    os.kill(stub(server, "encoder"), signal.SIGSTOP)
    try:
        took_s = await until(health, lambda: not health.snapshot()["encoder"].serving)
        assert took_s < INTERVAL_S + PATIENT_S + SLACK_S
        await until(health, lambda: not health.snapshot()["chain"].serving)
        await asyncio.sleep(PATIENT_S)  # others are asked meanwhile
        states = health.snapshot()
        assert {name for name, state in states.items() if not state.serving} == {"encoder", "chain"}
        assert states["chain"].reason == "its step encoder does not serve"
        assert states["chain"].failures == 0  # nobody is to load it again
        assert time.monotonic() - states["lookup"].checked_s < INTERVAL_S + PATIENT_S + SLACK_S
        assert not health.serving
    finally:
        await asyncio.to_thread(server.reload, "encoder", hung=True)
    await until(health, lambda: health.serving)


async def test_a_model_that_hangs_is_told_from_a_busy_one(server, patient):
    health = patient
    async with InferenceServerClient(server.grpc_address) as client:

        async def ask(value: float, times: int) -> None:
            for _ in range(times):
                await client.infer("slow", seconds(value))

        # Eight callers, 0.8 s each: a probe waits 6.4 s, more than twice what it may.
        async with asyncio.TaskGroup() as callers:
            for _ in range(8):
                callers.create_task(ask(0.8, 2))
            for _ in range(80):  # 8 s of the 12.8
                assert health.snapshot()["slow"].serving
                await asyncio.sleep(0.1)
        hanging = asyncio.create_task(ask(10.0, 1))
        await until(health, lambda: not health.snapshot()["slow"].serving)
        assert not hanging.done()
        assert "nor to any other request in 3 s" in health.snapshot()["slow"].reason
        await until(health, lambda: health.serving)
        await hanging


class FailingTriton:
    """A client of a Triton with one model, which answers every request with an error and counts each, as
    Triton counts those of a Python model, as completed."""

    def __init__(self) -> None:
        self.completed = 0

    async def get_inference_statistics(self, **how: object) -> service_pb2.ModelStatisticsResponse:
        answer = service_pb2.ModelStatisticsResponse()
        answer.model_stats.add(name="encoder").inference_stats.success.count = self.completed
        return answer

    async def get_model_config(self, name: str, **how: object) -> service_pb2.ModelConfigResponse:
        return service_pb2.ModelConfigResponse(config=model_config_pb2.ModelConfig(name=name))

    async def infer(self, name: str, inputs: object, **how: object) -> None:
        self.completed += 1
        raise InferenceServerException("the weights are gone", status="StatusCode.INTERNAL")


async def test_a_model_that_fails_all_its_callers_does_not_serve():
    health, client = ModelHealth("nowhere", interval_s=0.2), FailingTriton()
    health.answered(["encoder"])
    ends = time.monotonic() + 20
    while health.snapshot()["encoder"].serving and time.monotonic() < ends:
        with contextlib.suppress(InferenceServerException):
            await client.infer("encoder", [])
        await health.check(client)
        await asyncio.sleep(0.02)
    assert health.snapshot()["encoder"].reason.endswith("INTERNAL: the weights are gone")


class HangingTriton:
    """A client of a Triton with two models, of which `hung` answers nothing."""

    async def get_inference_statistics(self, **how: object) -> service_pb2.ModelStatisticsResponse:
        return service_pb2.ModelStatisticsResponse()

    async def infer(self, name: str, inputs: object, **how: object) -> None:
        if name == "hung":
            await asyncio.Event().wait()


async def test_a_model_that_hangs_for_long_takes_no_other_along():
    asker, client = Asker({}, timeout_s=0.01), HangingTriton()
    hung, well = (
        SimpleNamespace(name=name, inputs=[], sent="x", read=lambda result: None) for name in ("hung", "well")
    )
    for _ in range(2 * MOST_LEFT):
        assert (await asker.fault(client, hung, 0)).startswith("no answer to its probe")
        assert await asker.fault(client, well, 0) == ""


async def test_a_model_that_answers_others_is_asked_all_the_same(server):
    patient = looking(server, timeout_s=PATIENT_S)
    async with InferenceServerClient(server.grpc_address) as client, patient:

        async def answered() -> int:
            statistics = await client.get_inference_statistics("slow")
            return int(statistics.model_stats[0].inference_stats.success.count)

        before, calls, ends = await answered(), 0, time.monotonic() + 20
        while await answered() < before + calls + 3 and time.monotonic() < ends:
            await client.infer("slow", seconds(0))
            calls += 1
        assert await answered() >= before + calls + 3


async def test_an_ensemble_whose_steps_serve_is_asked_seldom(server):
    twelve_s = 12 * INTERVAL_S
    patient = looking(server, timeout_s=PATIENT_S)
    async with InferenceServerClient(server.grpc_address) as client, patient as health:

        async def answered(name: str) -> int:
            statistics = await client.get_inference_statistics(name)
            return int(statistics.model_stats[0].inference_stats.success.count)

        asked_s, counted_s = 0.0, math.inf
        while counted_s >= asked_s + twelve_s:  # where the machine stalled, from its next turn on
            asked_s = health.snapshot()["chain"].checked_s
            before = {name: await answered(name) for name in ("chain", "encoder")}
            encoder = before["encoder"]
            while encoder < before["encoder"] + 3:
                await asyncio.sleep(0.05)
                encoder = await answered("encoder")
            chain, counted_s = await answered("chain"), time.monotonic()
        assert chain == before["chain"]
        await until(health, lambda: health.snapshot()["chain"].checked_s > asked_s)
        assert twelve_s <= health.snapshot()["chain"].checked_s - asked_s < twelve_s + SLACK_S
        assert await answered("chain") == before["chain"] + 1


async def test_an_unloaded_model_does_not_serve(server, health):
    headers = dict(admin.grpc_headers(server.key))
    async with InferenceServerClient(server.grpc_address) as client:
        await client.unload_model("lookup", headers=headers)
        await until(health, lambda: not health.snapshot()["lookup"].serving)
        assert health.snapshot()["lookup"].reason == "not loaded"
        await client.load_model("lookup", headers=headers)
    await until(health, lambda: health.serving)


async def test_a_model_that_was_never_there_is_missed(server):
    health = ModelHealth(server.grpc_address, models=["encoder", "absent"])
    async with InferenceServerClient(server.grpc_address) as client:
        await health.check(client)
    assert {n for n, state in health.snapshot().items() if not state.serving} == {"absent"}


async def test_an_ensemble_that_fails_has_its_steps_asked_first(server):
    health = ModelHealth(server.grpc_address, interval_s=60, timeout_s=TIMEOUT_S)
    async with InferenceServerClient(server.grpc_address) as client:
        await health.check(client)
        os.kill(stub(server, "encoder"), signal.SIGSTOP)
        try:
            health._states["chain"] = replace(health.snapshot()["chain"], checked_s=0)  # it alone is due
            seen = []
            while health.snapshot()["encoder"].serving:
                await health.check(client)
                await asyncio.sleep(0.05)
                seen.append(health.snapshot()["chain"].failures)
            await health.check(client)
        finally:
            await asyncio.to_thread(server.reload, "encoder", hung=True)
        assert max(seen) == 1  # it was not asked again before its step
        chain = health.snapshot()["chain"]
        assert (chain.reason, chain.failures) == ("its step encoder does not serve", 0)


async def test_a_triton_that_went_away_and_came_back(repository):
    server = TritonServer(ServerSettings(model_repository=repository))
    with server:
        async with looking(server) as health:
            address = server.grpc_address
            await asyncio.to_thread(server.stop, 0)
            await until(health, lambda: health.server_failures > 1)
            assert "does not answer: UNAVAILABLE" in health.snapshot()["encoder"].reason
            assert not any(state.failures for state in health.snapshot().values())  # no model's fault
            await asyncio.to_thread(server.start)
            assert server.grpc_address == address
            assert await until(health, lambda: health.serving) < 5
            os.kill(server.pid, signal.SIGSTOP)  # hangs as a whole
            await until(health, lambda: health.server_failures > 1)
            assert "DEADLINE_EXCEEDED" in health.server_reason
            server.stop(0)


async def test_nothing_is_asked_while_it_is_paused(server):
    async with looking(server) as health:
        with health.paused():
            await asyncio.sleep(0.1)
            before = health.snapshot()
            await asyncio.sleep(3 * INTERVAL_S)
            assert health.snapshot() == before
        await asyncio.sleep(13 * INTERVAL_S)  # an ensemble's turn comes after twelve
        assert all(state.checked_s > before[n].checked_s for n, state in health.snapshot().items())


async def test_a_probe_that_is_refused_says_what_was_sent(server):
    health = ModelHealth(server.grpc_address)
    async with InferenceServerClient(server.grpc_address) as client:
        await health.check(client)
        health._probes["slow"].inputs.clear()
        health._states.clear()  # so that it is asked at once
        await health.check(client)
    state = health.snapshot()["slow"]
    assert (state.serving, state.failures) == (False, 1)
    assert state.reason.startswith("fails its probe (SECONDS float32[1]): INVALID_ARGUMENT")
