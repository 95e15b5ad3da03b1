"""Whether each model answers, told by inferences: Triton calls itself ready with stubs that are dead or hang.

`ModelHealth` asks a Triton over gRPC alone, so a supervisor uses it beside its server and a gateway before
one elsewhere. Every model is sent one small made-up inference in an interval, one after the other; one that
completes requests of others more seldom, but it is: Triton's statistics count an error that a Python model
answers as a success. A probe that waits behind real requests fails nobody: as long as the model completes
inferences, it is busy.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import grpc
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from resonance.serving import admin
from resonance.serving.decoder import SPARED_MODELS
from resonance.serving.health_probe import Asker, reason, steps
from resonance.serving.readiness import Probe

INTERVAL_S = 5.0
TIMEOUT_S = 10.0

#: An ensemble that serves is asked once in so many intervals: it has no process of its own that could die,
#: its steps are asked themselves, and each of its probes runs all of them.
_ENSEMBLE_INTERVALS = 12
#: One that completes requests is: a probe takes the processor from them, and what hangs completes nothing.
_BUSY_INTERVALS = 4

#: While something does not answer it is asked this often.
RETRY_S = 0.5
#: For `ModelState.recent`.
_RECENT_S, _RECENT_MOST = 60.0, 10
#: Triton is looked at this often, or four times in an interval.
_TICK_S = 1.0
#: A probe that takes longer lets the next model's go ahead.
_GIVE_WAY_S = 1.0

#: Reconnects soon after a restart, instead of after up to two minutes.
_CHANNEL: list[tuple[str, Any]] = [
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1000),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.use_local_subchannel_pool", 1),
    *admin.CHANNEL,
]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelState:
    """What is known of one model.

    Attributes:
        name: its name.
        serving: whether it answered when it was last asked; None: not asked yet.
        reason: why it does not serve, in one line; empty where it does.
        since_s: when it came into this state, by `time.monotonic`.
        checked_s: when what is known of it was last learnt, by `time.monotonic`.
        failures: probes failed in a row. 0 for an ensemble that only lacks one of its steps.
        recent: probes failed within the last minute, in a row or not: of several processes of a model one
            may be well. 0 for an ensemble, whose steps are told themselves.
    """

    name: str
    serving: bool | None = None
    reason: str = "not asked yet"
    since_s: float = 0.0
    checked_s: float = 0.0
    failures: int = 0
    recent: int = 0

    def same(self, other: ModelState) -> bool:
        """Whether nothing changed but when it was asked."""
        mine, its = (replace(state, since_s=0, checked_s=0) for state in (self, other))
        return mine == its


class ModelHealth:
    """Looks after the models of the Triton at `address`; run it as a task: ``create_task(health.run())``.

    Args:
        address: ``host:port`` of Triton's gRPC endpoint.
        interval_s: after which a model is asked; one that completes other requests after four of them, an
            ensemble whose steps serve after twelve; one that failed lately every `RETRY_S`.
        timeout_s: within which a model has to answer, or to have completed something else.
        headers: sent with every call.
        models: names that must serve; others are found by themselves. Without it an unloaded model is only
            missed if it was there once.
        credentials: for TLS; None: plain text.

    Attributes:
        server_failures: looks in a row at which Triton itself did not answer.
        server_reason: why not, in one line; empty where it does.
    """

    def __init__(
        self,
        address: str,
        *,
        interval_s: float = INTERVAL_S,
        timeout_s: float = TIMEOUT_S,
        headers: Iterable[tuple[str, str]] = (),
        models: Collection[str] = (),
        credentials: grpc.ChannelCredentials | None = None,
    ) -> None:
        self.server_failures = 0
        self.server_reason = ""
        self._address = address
        self._interval_s = interval_s
        self._tick_s = min(_TICK_S, interval_s / 4)
        self._asker = Asker(dict(headers), timeout_s)
        self._credentials = credentials
        now = time.monotonic()
        self._states = {name: ModelState(name=name, since_s=now) for name in sorted(models)}
        self._configs: dict[str, Any] = {}
        self._probes: dict[str, Probe] = {}
        self._asking: dict[str, asyncio.Task[None]] = {}
        self._failed_s: dict[str, deque[float]] = {}
        self._suspects: set[str] = set()  # steps of an ensemble that failed
        self._completed: dict[str, int] = {}  # inferences, at the look before
        self._changed = asyncio.Event()
        self._hurry = asyncio.Event()
        self._paused = asyncio.Event()
        self._resumed = asyncio.Event()
        self._resumed.set()

    async def run(self) -> None:
        """Look after the models until cancelled."""
        while True:
            await self._resumed.wait()
            # Anew after each pause: a channel remembers for a while that nobody was there.
            async with InferenceServerClient(
                self._address, creds=self._credentials, channel_args=_CHANNEL
            ) as client:
                try:
                    while self._resumed.is_set():
                        await self._look(client)
                finally:
                    await self._drop_probes()

    async def _look(self, client: InferenceServerClient) -> None:
        """`check` and the wait for the next, or until `paused`."""
        self._hurry.clear()
        look = asyncio.ensure_future(self.check(client))
        paused = asyncio.ensure_future(self._paused.wait())
        try:
            await asyncio.wait({look, paused}, return_when=asyncio.FIRST_COMPLETED)
            if self._paused.is_set():
                return
            look.result()
            # Not `wait_for`, which in Python 3.11 forgets a cancellation that meets the event.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._tick_s if self.serving else RETRY_S):
                    await self._hurry.wait()
        finally:
            look.cancel()
            paused.cancel()
            await asyncio.gather(look, paused, return_exceptions=True)

    async def _drop_probes(self) -> None:
        asking, self._asking = self._asking, {}
        for task in asking.values():
            task.cancel()
        await asyncio.gather(*asking.values(), return_exceptions=True)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Ask nothing while Triton is being started again: what was under way tells nothing any more."""
        self._paused.set()
        self._resumed.clear()
        self._hurry.set()
        try:
            yield
        finally:
            self._paused.clear()
            self._resumed.set()

    def snapshot(self) -> Mapping[str, ModelState]:
        """The state of every model by name, as it is now; it does not change later."""
        return MappingProxyType(dict(self._states))

    @property
    def serving(self) -> bool:
        """Whether Triton and every model of it answer, but for those that another stands in for."""
        return (
            not self.server_failures
            and bool(self._states)
            and all(state.serving for state in self._states.values() if state.name not in SPARED_MODELS)
        )

    async def wait_changed(self, known: Mapping[str, ModelState] | None = None) -> Mapping[str, ModelState]:
        """The next snapshot that tells something new.

        With `known`, the snapshot that the caller has acted on, nothing that happened since is missed.
        """
        while known is None or not self._differs(known):
            self._changed.clear()
            await self._changed.wait()
            if known is None:
                break
        return self.snapshot()

    def answered(self, names: Iterable[str]) -> None:
        """Somebody has just seen `names` answer an inference, after a start or a reload."""
        self.server_failures, self.server_reason = 0, ""
        names = set(names)
        for name in list(self._asking):
            if name in names or names.intersection(steps(self._configs[name])):
                self._asking.pop(name).cancel()  # asked before: the answer would be of what is gone
        for name in names:
            self._failed_s.pop(name, None)
            self._settle(name, "", quiet=True)

    def hurry(self) -> None:
        """Ask now rather than when the interval is over."""
        self._hurry.set()

    async def check(self, client: InferenceServerClient) -> None:
        """Look at every model, and ask those that were not asked for an interval.

        Returns while one that takes long is still being asked. Raises nothing of Triton's.
        """
        for name in [name for name, task in self._asking.items() if task.done()]:
            self._asking.pop(name).result()
        try:
            counts = await self._asker.counts(client)
        except InferenceServerException as error:
            self._server_failed(reason(error))
            return
        if self.server_failures:
            self.server_failures, self.server_reason = 0, ""
            self._changed.set()
        for name in counts.keys() - self._states.keys():
            self._states[name] = ModelState(name=name, since_s=time.monotonic())
        for name in self._states.keys() - counts.keys():
            self._settle(name, "not loaded", failed=True)
        await self._learn(client, [name for name in sorted(counts) if name not in self._configs])
        busy = {name for name, count in counts.items() if count > self._completed.get(name, count)}
        self._completed = counts
        known = [name for name in sorted(counts) if name in self._configs and name not in self._asking]
        for name in sorted(known, key=lambda name: bool(steps(self._configs[name]))):  # ensembles last
            called = steps(self._configs[name])
            if lacking := [step for step in called if not self._serves(step)]:
                self._settle(name, f"its step {lacking[0]} does not serve")
            elif self._due(name, busy=name in busy) and not self._suspects.intersection(called):
                task = asyncio.ensure_future(self._ask(client, name, counts[name]))
                self._asking[name] = task
                await asyncio.wait({task}, timeout=_GIVE_WAY_S)  # one after the other, but none for ever

    def _due(self, name: str, *, busy: bool) -> bool:
        """Whether it is to be asked now. busy: it completed something since the look before."""
        state = self._states[name]
        if state.serving is None or name in self._suspects:
            return True
        if not state.serving or state.recent:
            return time.monotonic() >= state.checked_s + RETRY_S
        usual = _BUSY_INTERVALS if busy else 1
        intervals = _ENSEMBLE_INTERVALS if steps(self._configs[name]) else usual
        return time.monotonic() >= state.checked_s + intervals * self._interval_s

    async def _ask(self, client: InferenceServerClient, name: str, count: int) -> None:
        """Send one model its probe; it had completed `count` inferences before."""
        try:
            fault = await self._asker.fault(client, self._probes[name], count)
        except InferenceServerException as error:
            self._server_failed(reason(error))
            return
        self._suspects.discard(name)
        if fault:
            self._suspects.update(steps(self._configs[name]))  # which of them it is they say themselves
        self._settle(name, fault, failed=bool(fault))

    async def _learn(self, client: InferenceServerClient, names: Iterable[str]) -> None:
        """Read the configs of models not met before, and make their probes."""
        for name in names:
            try:
                config = await self._asker.config(client, name)
            except InferenceServerException as error:
                self._settle(name, f"its config cannot be read: {reason(error)}", failed=True)
                continue
            self._configs[name] = config
            self._probes[name] = Probe.of(config)

    def _serves(self, name: str) -> bool:
        return name in self._states and bool(self._states[name].serving)

    def _server_failed(self, why: str) -> None:
        told = f"Triton at {self._address} does not answer: {why}"
        if not self.server_failures:
            _log.warning("%s", told)
        self.server_failures += 1
        self.server_reason = why
        for name in self._states:
            self._settle(name, told, quiet=True)
        self._changed.set()

    def _settle(self, name: str, fault: str, *, failed: bool = False, quiet: bool = False) -> None:
        """Note what is known of a model now; `fault` is empty where it serves."""
        now = time.monotonic()
        failed_s = self._failed_s.setdefault(name, deque(maxlen=_RECENT_MOST))
        if failed and not steps(self._configs.get(name)):
            failed_s.append(now)
        while failed_s and failed_s[0] < now - _RECENT_S:
            failed_s.popleft()
        old = self._states.get(name, ModelState(name=name, since_s=now))
        serving = not fault
        new = replace(
            old,
            serving=serving,
            reason=fault,
            since_s=old.since_s if old.serving is serving else now,
            checked_s=now,
            failures=old.failures + 1 if failed else 0,
            recent=len(failed_s),
        )
        self._states[name] = new
        if not quiet and old.serving is not serving and (old.serving is not None or not serving):
            _log.log(
                logging.INFO if serving else logging.WARNING,
                "model %s: %s",
                name,
                "serves again" if serving else fault,
            )
        if not new.same(old):
            self._changed.set()

    def _differs(self, known: Mapping[str, ModelState]) -> bool:
        return known.keys() != self._states.keys() or any(
            not state.same(self._states[name]) for name, state in known.items()
        )


__all__ = ["INTERVAL_S", "TIMEOUT_S", "ModelHealth", "ModelState"]
