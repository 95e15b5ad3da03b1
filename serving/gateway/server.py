"""The gateway as a whole: its parts put together, started, and stopped in order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import tempfile
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from resonance import __version__
from resonance.clients.errors import ResonanceError, ServerFaultError
from resonance.clients.served_space import MODEL as SPACE_MODEL
from resonance.clients.served_space import ServedSpace
from resonance.clients.transport import TritonTransport
from resonance.serving.errors import GatewayConfigError, PortTakenError, StartError
from resonance.serving.gateway.admission import Admission
from resonance.serving.gateway.binding import bind_policy
from resonance.serving.gateway.callers import Authenticator
from resonance.serving.gateway.health_service import NOT_SERVING, SERVING, HealthService
from resonance.serving.gateway.interceptors import CallInterceptor
from resonance.serving.gateway.limits import GatewayLimits
from resonance.serving.gateway.listening import RefusedBelow, core_options
from resonance.serving.gateway.metrics import GatewayMetrics
from resonance.serving.gateway.metrics_server import MetricsServer
from resonance.serving.gateway.models_transport import ModelsTransport
from resonance.serving.gateway.reading import NURSERY, MemoryBudget, SpoolBudget, check_spool_folder
from resonance.serving.gateway.reasons import Refusal
from resonance.serving.gateway.service import EmbeddingService
from resonance.serving.gateway.shared import Shared
from resonance.serving.gateway.tls import ServerTls, TlsFiles
from resonance.serving.gateway.tokens import TokenFile
from resonance.serving.gateway.tracing import Tracing, otlp_exporter
from resonance.serving.health import ModelHealth, ModelState
from resonance.serving.ports import choose_ports
from resonance.serving.signs_of_life import SUPERVISED_VARIABLE
from resonance.space.descriptor import Descriptor
from resonance.space.errors import SpaceError
from resonance.v1 import embedding_pb2 as pb
from resonance.v1.embedding_pb2_grpc import add_EmbeddingServiceServicer_to_server

SERVICE = pb.DESCRIPTOR.services_by_name["EmbeddingService"].full_name
_log = logging.getLogger(__name__)
#: Calls that may wait for the event loop: half of the live feeds that may come back at one moment after a
#: restart. At up to 0.5 ms each they wait 0.1 s, and gRPC's default of 1,000 to 3,000 waits seconds.
MAX_PENDING_CALLS = 256
#: For answers on their way out once every call was ended.
_FLUSH_S = 1.0
_SPACE_RETRY_S = 0.5
#: How often the tokens are looked at, those of running calls too.
_TOKENS_LOOK_S = 1.0
#: And the certificate's files, at which each new connection looks, too. Rarely, for of a renewal under way
#: half may be there.
_CERTIFICATE_LOOK_S = 10.0
#: Calls are taken once all models were seen to serve, so that health says so to the first who asks, but of
#: models that do not answer so long after the start.
_FIRST_LOOK_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewaySettings:
    """How a gateway is started.

    Attributes:
        triton: ``host:port`` of Triton's gRPC endpoint.
        host, port, metrics_port: where it listens; port 0 picks a free one. Metrics are for this machine
            alone unless `metrics_host` says otherwise.
        tls: its certificate; None: plain text, on loopback alone unless `insecure_anywhere`.
        token_file: who may call; None: everybody who reaches it.
        spool_folder: where uploads are kept while they are read; by default the system's folder for such.
        otlp_endpoint: an OpenTelemetry collector; None: no traces.
        start_timeout_s: until Triton has told its space.
        drain_s: how long uploads in flight may take after `stop`; live feeds are sent away at once.
    """

    triton: str
    host: str = "127.0.0.1"
    port: int = 8080
    metrics_host: str = "127.0.0.1"
    metrics_port: int = 8081
    tls: TlsFiles | None = None
    insecure_anywhere: bool = False
    token_file: Path | None = None
    spool_folder: Path | None = None
    otlp_endpoint: str | None = None
    start_timeout_s: float = 60.0
    drain_s: float = 10.0
    limits: GatewayLimits = field(default_factory=GatewayLimits)


class Gateway:
    """A gateway of this process; `start`, then `stop`, on one event loop."""

    def __init__(self, settings: GatewaySettings, metrics: GatewayMetrics | None = None) -> None:
        self.settings = settings
        self.port = 0
        self.metrics_port = 0
        self.metrics = metrics or GatewayMetrics(version=__version__)
        self._closing = contextlib.AsyncExitStack()
        self._server: grpc.aio.Server | None = None
        self._shared: Shared | None = None
        self._health_service = HealthService()
        self._tell_space: Callable[[Descriptor], None] = lambda space: None

    @property
    def address(self) -> str:
        """``host:port`` for clients."""
        return _address(self.settings.host, self.port)

    @property
    def metrics_address(self) -> str:
        """``host:port`` where ``/metrics`` answers."""
        return _address(self.settings.metrics_host, self.metrics_port)

    @property
    def space(self) -> Descriptor | None:
        """What is served, as Triton told it last; None before the start."""
        return self._shared.served.last_known if self._shared else None

    def when_space_changes(self, tell: Callable[[Descriptor], None]) -> None:
        """Call `tell` whenever Triton serves another space from now on: it may be replaced behind us."""
        self._tell_space = tell

    async def start(self) -> None:
        """Return once calls are taken.

        Raises:
            GatewayConfigError: settings that contradict each other, files that cannot be used, or no Triton.
            PortTakenError: a given port is in use.
            StartError: uploads could not be read here.
        """
        try:
            await self._start()
        except BaseException:
            await self._closing.aclose()
            raise

    async def _start(self) -> None:
        settings, limits = self.settings, self.settings.limits
        bind_policy(settings.host, settings.tls is not None, settings.insecure_anywhere)
        spool_folder = settings.spool_folder or Path(tempfile.gettempdir())
        check_spool_folder(spool_folder, limits.max_spool_bytes)
        tracing = Tracing(
            otlp_exporter(settings.otlp_endpoint) if settings.otlp_endpoint else None, version=__version__
        )
        self._closing.callback(tracing.close)
        triton = TritonTransport(settings.triton, headers=tracing.request_headers)
        transport = ModelsTransport(triton, settings.triton)
        self._closing.push_async_callback(transport.close)
        served = ServedSpace(transport, timeout_s=limits.request_timeout_s, on_change=self._space_changed)
        await self._ask_space(served)
        self._shared = Shared(
            transport=transport,
            served=served,
            limits=limits,
            admission=Admission(limits, self.metrics.call_refused),
            metrics=self.metrics,
            tracing=tracing,
            budget=SpoolBudget(limits.max_spool_bytes, lambda: self.metrics.call_refused(Refusal.SPOOL)),
            memory=MemoryBudget(limits.all_readers_memory_bytes),
            spool_folder=spool_folder,
        )
        self._show_gauges(self._shared)
        try:
            await NURSERY.warm_up()
        except ServerFaultError as error:
            raise StartError(
                f"no process to read uploads with ({error.__cause__}); expected room for one (memory, "
                "pids limit)"
            ) from error
        model_health = ModelHealth(settings.triton)
        self._look_after(model_health.run())
        self._look_after(self._tell_health(model_health))
        self._look_after(_follow_space(served, model_health))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_FIRST_LOOK_S):
                await self._health_service.serves(SERVICE)
        await self._listen(self._shared, model_health)

    def _look_after(self, work: Coroutine[Any, Any, None]) -> None:
        """Do `work`, which has no end, until the gateway is closed."""
        task = asyncio.create_task(work)
        task.add_done_callback(_log_fault)
        self._closing.push_async_callback(_cancelled, task)

    async def _ask_space(self, served: ServedSpace) -> None:
        """The space, once Triton tells it: it may be starting beside us."""
        deadline = time.monotonic() + self.settings.start_timeout_s
        while True:
            try:
                await served.ask()
            except (ResonanceError, SpaceError) as error:
                if time.monotonic() > deadline:
                    raise GatewayConfigError(
                        f"no space from Triton at {self.settings.triton}: {error.__cause__ or error}"
                    ) from None
                await asyncio.sleep(_SPACE_RETRY_S)
            else:
                return

    def _space_changed(self, space: Descriptor) -> None:
        self.metrics.space(space.name, space.fingerprint, space.trained)
        self._tell_space(space)

    async def _listen(self, shared: Shared, model_health: ModelHealth) -> None:
        settings = self.settings
        tokens = TokenFile(settings.token_file) if settings.token_file else None
        wanted = {"gateway": settings.port, "metrics": settings.metrics_port}
        ports = choose_ports(settings.host, wanted, {"metrics": settings.metrics_host}, _port_flags())
        options = [
            *core_options(),
            ("grpc.max_receive_message_length", settings.limits.max_message_bytes),
            ("grpc.max_send_message_length", -1),
            # calls wait for a busy event loop; more than these are refused by gRPC's own threads
            ("grpc.server.max_pending_requests", MAX_PENDING_CALLS),
            ("grpc.server.max_pending_requests_hard_limit", 2 * MAX_PENDING_CALLS),
            ("grpc.so_reuseport", 0),  # a second gateway on the port is an error, not half of the calls
            # clients ping to notice a dead connection; gRPC would send them away (GOAWAY) otherwise
            ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
            ("grpc.keepalive_permit_without_calls", 1),
            # and this side pings, to drop the work of callers whose machine is gone
            ("grpc.keepalive_time_ms", 20_000),
            ("grpc.keepalive_timeout_ms", 10_000),
            ("grpc.http2.ping_timeout_ms", 10_000),  # without it gRPC waits a minute more
        ]
        interceptor = CallInterceptor(
            Authenticator(tokens), self.metrics, shared.tracing, settings.limits.idle_timeout_s
        )
        if tokens is not None:
            self._look_after(_follow_tokens(tokens, interceptor))
        server = self._server = grpc.aio.server(interceptors=[interceptor], options=options)
        add_EmbeddingServiceServicer_to_server(EmbeddingService(shared, model_health), server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health_service, server)
        reflection.enable_server_reflection((SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
        self.port = self._bound(server, _address(settings.host, ports["gateway"]), ports["gateway"])
        await server.start()
        self.metrics.add_collector(RefusedBelow(interceptor))
        try:
            metrics_server = MetricsServer(self.metrics, host=settings.metrics_host, port=ports["metrics"])
        except OSError:  # another program was faster, or this gateway has the port on all interfaces
            await server.stop(None)
            raise PortTakenError(
                "metrics", settings.metrics_host, ports["metrics"], flag=_port_flags()["metrics"]
            ) from None
        self._closing.callback(metrics_server.close)
        self.metrics_port = metrics_server.port

    def _bound(self, server: grpc.aio.Server, address: str, port: int) -> int:
        tls = self.settings.tls
        try:
            if tls is None:
                return int(server.add_insecure_port(address))
            certificates = ServerTls(tls, on_connection=self.metrics.connection_began)
            self.metrics.certificate_in_use(lambda: certificates.validity)
            self._look_after(_follow_certificate(certificates))
            return int(server.add_secure_port(address, certificates.credentials()))
        except RuntimeError:  # gRPC's only sign that another program was faster
            raise PortTakenError("gateway", self.settings.host, port, flag=_port_flags()["gateway"]) from None

    def _show_gauges(self, shared: Shared) -> None:
        """Numbers that others keep, read when they are asked for."""
        admission, metrics = shared.admission, self.metrics
        metrics.queued.set_function(lambda: admission.queued)
        metrics.segments_in_flight.set_function(lambda: admission.segments_in_flight)
        metrics.segments_in_flight_limit.set(shared.limits.max_segments_in_flight)
        metrics.uploads.set_function(lambda: admission.uploads)
        metrics.live_feeds.set_function(lambda: admission.live_feeds)
        metrics.queries.set_function(lambda: admission.queries)
        metrics.spooled_bytes.set_function(lambda: shared.budget.used_bytes)
        metrics.spool_limit_bytes.set(shared.budget.max_bytes)

    async def _tell_health(self, model_health: ModelHealth) -> None:
        """grpc.health.v1: "" and the service serve while all models do; each model by its own name."""
        known: Mapping[str, ModelState] = {}
        while True:
            known = await model_health.wait_changed(known)
            for name, state in known.items():
                self.metrics.model_health(name, bool(state.serving))
                self._health_service.set(name, SERVING if state.serving else NOT_SERVING)
            for name in ("", SERVICE):
                self._health_service.set(name, SERVING if model_health.serving else NOT_SERVING)

    async def stop(self) -> None:
        """Take no new calls, let uploads end within `drain_s`, send the others away to come again, end."""
        if self._server is not None and self._shared is not None:
            running = self._shared.running
            self._health_service.end()  # nothing may be awaited before the server stops
            stopping = asyncio.create_task(self._server.stop(self.settings.drain_s + _FLUSH_S))
            running.end_all(live_only=True)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.settings.drain_s):
                    await running.wait_none()
            running.end_all(live_only=False)
            await stopping
        await self._closing.aclose()


async def _follow_space(served: ServedSpace, model_health: ModelHealth) -> None:
    """Ask for the space whenever the model that tells it serves again: with Triton it may have changed."""
    known: Mapping[str, ModelState] = {}
    since_s = -1.0
    while True:
        known = await model_health.wait_changed(known)
        state = known.get(SPACE_MODEL)
        if state is not None and state.serving and state.since_s != since_s:
            since_s = state.since_s
            with contextlib.suppress(ResonanceError, SpaceError):  # the next title asks, too
                await served.ask()


async def _follow_tokens(tokens: TokenFile, interceptor: CallInterceptor) -> None:
    while True:
        await asyncio.sleep(_TOKENS_LOOK_S)
        tokens.look()  # a file that cannot be used is told now, and not when somebody calls
        interceptor.end_revoked()


async def _follow_certificate(certificates: ServerTls) -> None:
    while True:
        await asyncio.sleep(_CERTIFICATE_LOOK_S)
        await asyncio.to_thread(certificates.look)


def _log_fault(task: asyncio.Task[None]) -> None:
    """Health, space or certificate would stand still, or tokens be good for ever, without a word."""
    if not task.cancelled() and (fault := task.exception()) is not None:
        _log.error("health, space, certificate or tokens are looked after no more", exc_info=fault)


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _port_flags() -> dict[str, str]:
    """What gives the gateway's ports: `resonance serve` has one; its other is Triton's."""
    if os.environ.get(SUPERVISED_VARIABLE):
        return {"gateway": "--gateway-port", "metrics": "--metrics-port after --"}
    return {"gateway": "--port", "metrics": "--metrics-port"}


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
