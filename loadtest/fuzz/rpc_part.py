"""The part `rpc`: bad calls to a real gateway before a real Triton, with good ones between them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from typing import Any

import grpc

from resonance.clients.credentials import WITHOUT_PROXY
from resonance.loadtest.fuzz.calls import BadCall, End, make_call
from resonance.loadtest.fuzz.mutate import Material, Sample
from resonance.loadtest.fuzz.scripts import (
    EMBED_MEDIA,
    GET_STATUS,
    HEALTH_CHECK,
    HEALTH_WATCH,
    Script,
    make_scripts,
)
from resonance.loadtest.fuzz.tally import HANG_S, Tally
from resonance.loadtest.fuzz.witness import GoodCaller, Holdings, LogFaults, differences, holdings
from resonance.loadtest.gateway.stack import Stack
from resonance.v1 import embedding_pb2 as pb

_Code = grpc.StatusCode
ALLOWED = frozenset(
    (
        _Code.OK,
        _Code.INVALID_ARGUMENT,
        _Code.FAILED_PRECONDITION,
        _Code.RESOURCE_EXHAUSTED,
        _Code.CANCELLED,
        _Code.DEADLINE_EXCEEDED,
        _Code.ABORTED,
        _Code.UNIMPLEMENTED,
    )
)
#: The health protocol's word for a service it does not know.
ALSO_ALLOWED: Mapping[str, frozenset[grpc.StatusCode]] = {HEALTH_CHECK: frozenset((_Code.NOT_FOUND,))}
#: A call that is left open by its caller is ended by it after so long.
STAYS_S = 0.3
GOOD_EVERY = 200
#: What a server holds is compared with what it held after so many bad calls: caches are warm then.
WARM_CALLS = 500
QUIET_S = 15.0
#: How long a call's real end may come after a write has failed.
SETTLE_S = 1.0
_WRITE_FAILED = "Internal error from Core"
CONNECTIONS = 4


async def fuzz_rpc(
    tally: Tally,
    stack: Stack,
    media: Mapping[str, Sample],
    words: tuple[bytes, ...],
    *,
    seed: int,
    numbers: range,
    at_once: int,
    tick: Callable[[], bool],
) -> None:
    """Make the calls of `numbers`.

    Args:
        media: good files by name: "film", "sound", "picture".
        words: of formats, and references that must not be followed.
        at_once: bad calls under way at a time.
        tick: called after each call; False ends the run.
    """
    faults = LogFaults(stack.spool / "gateway.log")
    material = Material(tuple(media.values()), words)
    options = [("grpc.max_send_message_length", -1), ("grpc.use_local_subchannel_pool", 1), *WITHOUT_PROXY]
    channels = [grpc.aio.insecure_channel(stack.address, options) for _ in range(CONNECTIONS + 1)]
    good = GoodCaller(channels[-1], media["film"])
    try:
        if (wrong := await good.call()) is not None:
            raise RuntimeError(f"the server is not sound before the run: {wrong}")
        scripts = make_scripts(media, good.segments, good.fingerprint)
        run = _Run(tally, stack, channels, good, scripts, material, seed, faults)
        warm = numbers[: min(WARM_CALLS, len(numbers) // 2)]
        await run.calls(iter(warm), at_once, tick)
        before = await run.settled(None)
        await run.calls(iter(numbers[len(warm) :]), at_once, tick)
        await run.slow_again()
        after = await run.settled(before)
        for told in differences(before, after):
            tally.find(numbers[-1], "left behind", told)
        tally.figures |= {
            "good_calls": good.calls,
            "gateway_bytes_warm": before.gateway_bytes,
            "gateway_bytes_end": after.gateway_bytes,
            "descriptors_warm": before.descriptors,
            "descriptors_end": after.descriptors,
            "readers_end": after.readers,
        }
    finally:
        for channel in channels:
            await channel.close()


class _Run:
    def __init__(
        self,
        tally: Tally,
        stack: Stack,
        channels: list[grpc.aio.Channel],
        good: GoodCaller,
        scripts: tuple[Script, ...],
        material: Material,
        seed: int,
        faults: LogFaults,
    ) -> None:
        self._tally, self._stack, self._channels, self._good = tally, stack, channels, good
        self._scripts, self._material, self._seed, self._faults = scripts, material, seed, faults
        self._going = True
        self._slow: list[BadCall] = []

    async def calls(self, numbers: Iterator[int], at_once: int, tick: Callable[[], bool]) -> None:
        """Several workers take numbers in turn; one more makes good calls and reads the log."""
        done = asyncio.Event()

        async def work() -> None:
            for number in numbers:
                await self._one(number)
                self._going = tick() and self._going
                if not self._going:
                    return

        witness = asyncio.create_task(self._witness(done))
        await asyncio.gather(*(work() for _ in range(at_once)))
        done.set()
        await witness

    async def _witness(self, done: asyncio.Event) -> None:
        called_at = self._tally.inputs
        while True:
            last = done.is_set()
            if last or self._tally.inputs >= called_at + GOOD_EVERY:
                called_at = self._tally.inputs
                if (wrong := await self._good.call()) is not None:
                    self._tally.find(called_at, "harmed", wrong)
            for line in self._faults.news():
                self._tally.find(self._tally.inputs, "fault in the log", line[:1000])
            if last:
                return
            await asyncio.sleep(0.1)

    async def _one(self, number: int) -> None:
        call = make_call(self._scripts, self._material, seed=self._seed, number=number)
        started = time.monotonic()
        code, details = await make(self._channels[number % CONNECTIONS], call)
        took_s = time.monotonic() - started
        about = f"{call.script}, {call.end}, {', '.join(call.changes)}: {details[:300]}"
        allowed = ALLOWED | ALSO_ALLOWED.get(call.method, frozenset())
        if code not in allowed:
            self._tally.find(number, code.name, about, call.to_bytes())
        elif took_s > HANG_S:
            self._slow.append(call)
        self._tally.record(number, f"{call.method.rpartition('/')[2] or '?'} {code.name}", took_s)

    async def slow_again(self) -> None:
        """Make calls that took too long once more, now that nobody else calls."""
        for call in self._slow:
            started = time.monotonic()
            code, details = await make(self._channels[0], call)
            took_s = time.monotonic() - started
            if took_s > HANG_S:
                about = (
                    f"{took_s:.1f} s alone, {code.name}: {call.script}, {', '.join(call.changes)}: {details}"
                )
                self._tally.find(call.number, "hang", about[:500], call.to_bytes())
        self._tally.figures["slow_beside_others"] = len(self._slow)
        self._slow.clear()

    async def settled(self, before: Holdings | None) -> Holdings:
        """What the server holds once all calls have ended, and it had time to see that."""
        deadline = time.monotonic() + QUIET_S
        stub = self._channels[-1].unary_unary(
            GET_STATUS,
            request_serializer=pb.GetStatusRequest.SerializeToString,
            response_deserializer=pb.GetStatusResponse.FromString,
        )
        while True:
            status = await stub(pb.GetStatusRequest())
            stack = self._stack
            found = holdings(stack.gateway_pid, stack.triton_pid, stack.spool, status)
            if time.monotonic() > deadline or not differences(before or found, found):
                return found
            await asyncio.sleep(0.5)


async def make(channel: grpc.aio.Channel, call: BadCall) -> tuple[grpc.StatusCode, str]:
    """Make the call over a raw channel; the code and details it ended with.

    A server that does not answer in time shows as DEADLINE_EXCEEDED after more than `HANG_S`.
    """
    timeout_s = max(call.after_s, 0.001) if call.end is End.GIVES_UP else HANG_S + 2
    if call.method == EMBED_MEDIA:
        rpc = channel.stream_stream(call.method)(timeout=timeout_s)
    elif call.method == HEALTH_WATCH:
        rpc = channel.unary_stream(call.method)(_first(call), timeout=min(timeout_s, STAYS_S))
    else:
        rpc = channel.unary_unary(call.method)(_first(call), timeout=timeout_s)
    end = _End(rpc)
    tasks = [asyncio.create_task(_cancel_later(rpc, call))]
    if call.method == EMBED_MEDIA:
        tasks.append(asyncio.create_task(_send(rpc, call)))
    try:
        if call.method in (EMBED_MEDIA, HEALTH_WATCH):
            async for _ in rpc:
                pass
        else:
            await rpc
    except (grpc.aio.AioRpcError, asyncio.CancelledError):
        pass  # the code tells
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return await end.told()


class _End:
    """How a call really ended.

    A server may end a call while a request is still being written; grpc.aio then puts an internal error of
    its own in the place of what the server said, or before it.
    """

    def __init__(self, rpc: grpc.aio.Call) -> None:
        self._rpc = rpc
        self._end: asyncio.Future[tuple[grpc.StatusCode, str]] = asyncio.get_running_loop().create_future()
        rpc.add_done_callback(self._keep)

    def _keep(self, rpc: grpc.aio.Call) -> None:
        code, details = _at_once(rpc.code()), str(_at_once(rpc.details()))
        if details != _WRITE_FAILED and not self._end.done():
            self._end.set_result((code, details))

    async def told(self) -> tuple[grpc.StatusCode, str]:
        """What the server said; what grpc.aio says where that does not come."""
        try:
            return await asyncio.wait_for(self._end, SETTLE_S)
        except TimeoutError:
            return await self._rpc.code(), str(await self._rpc.details())


def _at_once(result: Coroutine[Any, Any, Any]) -> Any:
    """Of a coroutine that has nothing to wait for: the call has ended."""
    try:
        result.send(None)
    except StopIteration as ended:
        return ended.value
    raise AssertionError("unreachable: a call that has ended knows how")


async def _cancel_later(rpc: grpc.aio.Call, call: BadCall) -> None:
    if call.end in (End.CANCELS, End.STAYS):
        await asyncio.sleep(call.after_s if call.end is End.CANCELS else STAYS_S)
        rpc.cancel()


async def _send(rpc: grpc.aio.StreamStreamCall, call: BadCall) -> None:
    for message in call.messages:
        await rpc.write(message)
    if call.end is not End.STAYS:
        await rpc.done_writing()


def _first(call: BadCall) -> bytes:
    return call.messages[0] if call.messages else b""
