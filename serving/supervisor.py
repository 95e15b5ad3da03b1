"""Keeps a Triton and its gateway at work: notices what died or hangs, and brings it back.

A model whose process died, or that twice in a row does not answer its probe, is loaded anew; a Triton that
ended, does not answer, or whose model does not come back or would come back from other files, is started
again on the same ports, a bounded number of times. A model that another stands in for (`SPARED_MODELS`) is
loaded anew now and then, and never has Triton started again. `Supervisor.run` is the whole of
`resonance serve`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from resonance.serving.decoder import SPARED_MODELS
from resonance.serving.errors import RepositoryChangedError, ServerDiedError, ServingError, StartError
from resonance.serving.health import INTERVAL_S, TIMEOUT_S, ModelHealth, ModelState
from resonance.serving.readiness import one_line
from resonance.serving.ready_file import ReadyFile, ready_line
from resonance.serving.server import TritonServer
from resonance.serving.supervisor_gateway import GatewayProcess

_LOOK_S = 1.0  # how often processes are looked at; what probes find is acted on at once
_SETTLE_S = 0.1
_FAILURES = 2  # probes in a row, so that one that a stall of the machine cost does not end a model's work
_RECENT_FAILURES = 3  # within a minute, with successes between: one of several processes of a model fails
_RELOADS, _RELOAD_WINDOW_S = 3, 60.0  # of one model, before Triton is started again instead
#: It counts the same drain itself. After it come answers on their way out (1 s), requests that were left at
#: the models (5 s at most) and spans (3 s at most).
_GATEWAY_MARGIN_S = 10.0
_ALONE_S = 2.0  # for what Triton still has in flight when its only caller, the gateway, is gone

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class SupervisorSettings:
    """How much is tried.

    Attributes:
        probe_interval_s, probe_timeout_s: see `ModelHealth`.
        restarts, window_s: of Triton, or of the gateway, so many within so long; one more gives up.
        backoff_s: before the second restart within the window; doubles with each, up to `max_backoff_s`.
    """

    probe_interval_s: float = INTERVAL_S
    probe_timeout_s: float = TIMEOUT_S
    restarts: int = 5
    window_s: float = 600.0
    backoff_s: float = 0.5
    max_backoff_s: float = 30.0


class Restarts:
    """Counts the restarts of one process, and says how long to wait before the next."""

    def __init__(self, what: str, settings: SupervisorSettings) -> None:
        self.count = 0
        self._what = what
        self._settings = settings
        self._times: deque[float] = deque()

    def next(self, reason: str) -> float:
        """Seconds to wait before the restart that `reason` asks for.

        Raises:
            ServerDiedError: there were too many.
        """
        settings, now = self._settings, time.monotonic()
        while self._times and self._times[0] < now - settings.window_s:
            self._times.popleft()
        tried = len(self._times)
        if tried >= settings.restarts:
            raise ServerDiedError(
                f"{self._what} {reason}; started again {tried} times within {settings.window_s:g} s already, "
                "giving up: see its log (--log-file keeps Triton's)"
            )
        self._times.append(now)
        self.count += 1
        wait_s = min(settings.backoff_s * 2 ** (tried - 1), settings.max_backoff_s) if tried else 0.0
        _log.warning(
            "%s %s; starting it again in %g s (%d of %d within %g s)",
            self._what, reason, wait_s, tried + 1, settings.restarts, settings.window_s,
        )  # fmt: skip
        return wait_s


class Supervisor:
    """Runs `server`, and `gateway` before it where there is one, until told to stop.

    Args:
        announce: given the ready line, once, when everything takes requests.
        ready_file: holds that line and one a model while all models serve, and is not there else.

    Attributes:
        health: state of each model; None until the server is started.
        reloads: by model, how often it was loaded anew.
    """

    def __init__(
        self,
        server: TritonServer,
        settings: SupervisorSettings | None = None,
        *,
        gateway: GatewayProcess | None = None,
        announce: Callable[[str], None] = lambda line: None,
        ready_file: Path | None = None,
    ) -> None:
        self.server = server
        self.settings = settings or SupervisorSettings()
        self.health: ModelHealth | None = None
        self.reloads: Counter[str] = Counter()
        self._gateway = gateway
        self._announce = announce
        self._file = ReadyFile(ready_file) if ready_file else None
        self._reloaded: dict[str, deque[float]] = {}
        self._outdated: set[str] = set()  # spared models whose files are others by now
        self._triton_restarts = Restarts("Triton", self.settings)
        self._gateway_restarts = Restarts("the gateway", self.settings)
        self._stop = asyncio.Event()
        self._triton_serves = asyncio.Event()

    @property
    def restarts(self) -> int:
        """How often Triton was started again."""
        return self._triton_restarts.count

    @property
    def gateway_restarts(self) -> int:
        """How often the gateway was started again."""
        return self._gateway_restarts.count

    def stop(self) -> None:
        """Make `run` end in order; at once where the server is just being started."""
        self._stop.set()
        self.server.give_up()

    async def run(self) -> None:
        """Start everything, look after it, and end it on SIGTERM, SIGINT or `stop`.

        Raises:
            ServingError: it could not be started, or ended more often than the settings allow.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        work = asyncio.create_task(self._work())
        stop = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait({work, stop}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                work.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await work
            elif not self._stop.is_set():  # what fails because it is being stopped is no failure
                work.result()
        finally:
            stop.cancel()
            await self._end()
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)

    async def _work(self) -> None:
        await asyncio.to_thread(self.server.start)
        self._triton_serves.set()
        gateway, settings = self._gateway, self.settings
        if gateway is not None:
            await gateway.start()
        self.health = health = ModelHealth(
            self.server.client_address,
            interval_s=settings.probe_interval_s,
            timeout_s=settings.probe_timeout_s,
            models=self.server.models,
        )
        health.answered(self.server.models)  # that is what the start waited for
        self._write(health)
        self._announce(self.ready_line())
        tasks = [asyncio.create_task(health.run()), asyncio.create_task(self._look_after(health))]
        if gateway is not None:
            tasks.append(asyncio.create_task(self._look_after_gateway(gateway)))
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _look_after(self, health: ModelHealth) -> None:
        known = health.snapshot()
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_S):
                    await health.wait_changed(known)
            known = health.snapshot()
            self._write(health)
            if reason := self._server_fault(health):
                await self._restart(health, reason)
                continue
            dead = self.server.dead_models()
            if dead:  # a Triton that ends takes its stubs along, and is seen to have ended a moment later
                await asyncio.sleep(_SETTLE_S)
                if self._server_fault(health):
                    continue
            failing = [s.name for s in known.values() if _fails(s) and s.name not in dead]
            for name in (*dead, *failing):
                reason = "its process died" if name in dead else known[name].reason or "fails now and then"
                if not await self._reload(health, name, reason, hung=name in failing):
                    break  # Triton was started again, and every model with it

    def _server_fault(self, health: ModelHealth) -> str | None:
        """What is wrong with Triton as a whole; None where nothing is."""
        if ended := self.server.ended():
            return f"ended by itself ({ended})"
        if health.server_failures >= _FAILURES:
            return f"does not answer ({health.server_reason})"
        return None

    async def _reload(self, health: ModelHealth, name: str, reason: str, *, hung: bool) -> bool:
        """Load model `name` anew. False where Triton was started again instead."""
        if name in self._outdated:  # it stays out until all of Triton is started again
            return True
        now = time.monotonic()
        times = self._reloaded.setdefault(name, deque(maxlen=_RELOADS))
        if len(times) == _RELOADS and times[0] > now - _RELOAD_WINDOW_S:
            if name in SPARED_MODELS:  # tried again when the window is over; no reason to take others along
                return True
            await self._restart(health, f"has model {name} that fails again and again ({reason})")
            return False
        times.append(now)
        self.reloads[name] += 1
        _log.warning("model %s: %s; loading it again (reload %d)", name, reason, self.reloads[name])
        try:
            await asyncio.to_thread(self.server.reload, name, hung=hung)
        except ServingError as error:
            if isinstance(error, RepositoryChangedError):
                if name not in SPARED_MODELS:
                    await self._restart(health, f"cannot load one model alone ({one_line(str(error))})")
                    return False
                self._outdated.add(name)
            if self._server_fault(health) is None:
                _log.error("model %s: could not be loaded again: %s", name, one_line(str(error)))
            return True
        health.answered([name])
        health.hurry()  # ensembles that it is a step of
        self._write(health)
        _log.info("model %s: loaded again in %.1f s", name, time.monotonic() - now)
        return True

    async def _restart(self, health: ModelHealth, reason: str) -> None:
        """Start Triton again on the same ports, as often as the settings allow."""
        began = time.monotonic()
        self._clear()
        self._triton_serves.clear()
        with health.paused():
            while True:
                wait_s = self._triton_restarts.next(reason)
                await asyncio.to_thread(self.server.stop, 0)
                await asyncio.sleep(wait_s)
                try:
                    await asyncio.to_thread(self.server.start)
                except ServingError as error:
                    reason = f"could not be started ({one_line(str(error))})"
                    continue
                break
        self._triton_serves.set()
        self._reloaded.clear()
        self._outdated.clear()
        health.answered(self.server.models)
        self._write(health)
        _log.warning("Triton serves again after %.1f s", time.monotonic() - began)

    async def _look_after_gateway(self, gateway: GatewayProcess) -> None:
        while True:
            await asyncio.sleep(_LOOK_S / 4)
            reason = gateway.fault()
            while reason:
                self._clear()
                await asyncio.sleep(self._gateway_restarts.next(reason))
                await gateway.stop(drain_s=0)  # children that it left
                await self._wait_for_triton()
                try:
                    await gateway.start()
                    reason = ""
                except StartError as error:
                    reason = f"could not be started ({error})"

    async def _wait_for_triton(self) -> None:
        """Return once it is loaded: a gateway waits a minute for it, and each time in vain would count."""
        while True:
            await self._triton_serves.wait()
            if self.server.ended() is None:
                return
            await asyncio.sleep(_SETTLE_S)  # it is about to be noticed

    def _write(self, health: ModelHealth) -> None:
        """Say in the ready file how things are."""
        if self._file is None or self._stop.is_set():
            return
        gateway_ready = self._gateway is None or (self._gateway.ready and not self._gateway.fault())
        if health.serving and gateway_ready and self.server.ended() is None:
            restarts = {"triton": self.restarts, "gateway": self.gateway_restarts}
            # anew: a gateway that was started again may have another port for its metrics
            self._file.update(self.ready_line(), health.snapshot(), self.reloads, restarts)
        else:
            self._file.remove()

    def _clear(self) -> None:
        if self._file is not None:
            self._file.remove()

    async def _end(self) -> None:
        """End everything in order; the caller's `drain_s` counts once, for the front door."""
        self._clear()
        drain_s: float | None = None
        if self._gateway is not None:
            await self._gateway.stop(self.server.settings.drain_s + _GATEWAY_MARGIN_S)
            drain_s = min(_ALONE_S, self.server.settings.drain_s)
        await asyncio.to_thread(self.server.stop, drain_s)

    def ready_line(self) -> str:
        """See `resonance.serving.ready_file.ready_line`."""
        server = self.server
        words = {"grpc": server.grpc_address}
        if server.settings.http:
            words["http"] = server.http_address
        words["metrics"] = server.metrics_address
        if self._gateway is not None:
            told = dict(self._gateway.told)
            words["triton_metrics"] = words.pop("metrics")
            words = {"gateway": told.get("gateway", ""), **words, "metrics": told.get("metrics", "none")}
        return ready_line(words, server.space)


def _fails(state: ModelState) -> bool:
    """Whether a model is to be loaded anew."""
    return state.failures >= _FAILURES or state.recent >= _RECENT_FAILURES


__all__ = ["Supervisor", "SupervisorSettings"]
