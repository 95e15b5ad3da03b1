"""Who is let in, who waits and who is refused."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter

import pytest

from resonance.clients.errors import OverloadedError
from resonance.serving.errors import GatewayConfigError
from resonance.serving.gateway import places
from resonance.serving.gateway.admission import Admission
from resonance.serving.gateway.limits import GatewayLimits


class Door:
    """An admission and why it refused."""

    def __init__(self, **limits: float) -> None:
        self.refused: list[str] = []
        self.admission = Admission(GatewayLimits(**limits), self.refused.append)  # type: ignore[arg-type]


async def test_uploads_over_the_places_wait_and_over_the_queue_are_refused_at_once() -> None:
    door = Door(max_uploads=2, max_queued=1, queue_timeout_s=5)
    async with contextlib.AsyncExitStack() as inside:
        await inside.enter_async_context(door.admission.stream("a", live=False))
        leaves = contextlib.AsyncExitStack()
        await leaves.enter_async_context(door.admission.stream("b", live=False))
        third = asyncio.create_task(inside.enter_async_context(door.admission.stream("c", live=False)))
        await asyncio.sleep(0.05)
        assert not third.done()
        assert (door.admission.uploads, door.admission.queued) == (2, 1)
        started = time.monotonic()
        with pytest.raises(
            OverloadedError, match="2 uploads under way and 1 waiting; expected at most 2"
        ) as no:
            await inside.enter_async_context(door.admission.stream("d", live=False))
        assert time.monotonic() - started < 1  # it does not wait for its 5 s
        assert no.value.retry_after_s == pytest.approx(2 * places.FIRST_KEPT_S / 2)  # one waits, two places
        await leaves.aclose()
        await asyncio.wait_for(third, 1)
    assert door.refused == ["full"]
    assert (door.admission.uploads, door.admission.queued) == (0, 0)


async def test_who_waits_too_long_is_refused_and_forgotten() -> None:
    door = Door(max_uploads=1, max_queued=1, queue_timeout_s=0.1)
    async with door.admission.stream("a", live=False):
        with pytest.raises(OverloadedError, match=r"no place became free in 0\.1 s"):
            await door.admission.stream("b", live=False).__aenter__()
        assert door.admission.queued == 0
    assert door.refused == ["queue_timeout"]


async def test_an_upload_that_waits_for_its_caller_keeps_no_place() -> None:
    door = Door(max_uploads=1, max_queued=1, queue_timeout_s=5)
    async with door.admission.stream("slow", live=False) as slow:
        slow.is_busy = lambda: False
        async with door.admission.stream("fast", live=False):
            assert door.admission.uploads == 2


async def test_those_who_wait_enter_in_their_order() -> None:
    door = Door(max_uploads=1, max_queued=3, queue_timeout_s=5)
    order: list[int] = []

    async def one(number: int) -> None:
        async with door.admission.stream("a", live=False):
            order.append(number)
            await asyncio.sleep(0.03)

    async with asyncio.TaskGroup() as group:
        for number in range(4):
            group.create_task(one(number))
            await asyncio.sleep(0)
    assert order == [0, 1, 2, 3]


async def test_who_has_fewest_places_is_next() -> None:
    door = Door(max_uploads=2, max_queued=8, queue_timeout_s=5)
    order: list[str] = []

    async def one(caller: str) -> None:
        async with door.admission.stream(caller, live=False):
            order.append(caller)
            await asyncio.sleep(0.03)

    async with asyncio.TaskGroup() as group:
        for caller in ("night", "night", "night", "night", "night", "late", "late"):
            group.create_task(one(caller))
            await asyncio.sleep(0)
    assert order[:2] == ["night", "night"]
    # both of night's leave; then each has one place at a time, as long as both have something to send
    assert sorted(order[2:4]) == sorted(order[4:6]) == ["late", "night"]
    assert len(order) == 7


async def test_a_full_line_of_one_caller_makes_room_for_another() -> None:
    door = Door(max_uploads=1, max_queued=1, queue_timeout_s=5)
    async with contextlib.AsyncExitStack() as inside:
        leaves = contextlib.AsyncExitStack()
        await leaves.enter_async_context(door.admission.stream("night", live=False))
        waits = asyncio.create_task(inside.enter_async_context(door.admission.stream("night", live=False)))
        await asyncio.sleep(0.01)
        with pytest.raises(OverloadedError):  # of its own it has no more
            await door.admission.stream("night", live=False).__aenter__()
        late = asyncio.create_task(inside.enter_async_context(door.admission.stream("late", live=False)))
        with pytest.raises(OverloadedError, match="1 uploads under way and 1 waiting") as displaced:
            await asyncio.wait_for(waits, 1)
        # behind the one that waits, and the one that was told so before
        assert displaced.value.retry_after_s == pytest.approx(3 * places.FIRST_KEPT_S, abs=0.05)
        with pytest.raises(OverloadedError):  # one call each: who waits already stays
            await door.admission.stream("third", live=False).__aenter__()
        assert not late.done()
        await leaves.aclose()
        await asyncio.wait_for(late, 1)
    assert door.refused == ["full", "full", "full"]
    assert door.admission.queued == 0


async def test_queries_are_shared_alike() -> None:
    door = Door(max_queries=1, max_queued_queries=1, queue_timeout_s=5)
    async with contextlib.AsyncExitStack() as inside:
        leaves = contextlib.AsyncExitStack()
        await leaves.enter_async_context(door.admission.query("busy"))
        waits = asyncio.create_task(inside.enter_async_context(door.admission.query("busy")))
        await asyncio.sleep(0.01)
        late = asyncio.create_task(inside.enter_async_context(door.admission.query("late")))
        with pytest.raises(OverloadedError, match="1 queries under way"):
            await asyncio.wait_for(waits, 1)
        await leaves.aclose()
        await asyncio.wait_for(late, 1)
        assert door.admission.queries == 1
    assert door.admission.queries == 0


async def test_live_feeds_are_let_in_beside_busy_uploads_up_to_their_own_bound() -> None:
    door = Door(max_uploads=1, max_live_feeds=2)
    async with (
        door.admission.stream("a", live=False),
        door.admission.stream("a", live=True),
        door.admission.stream("a", live=True),
    ):
        with pytest.raises(OverloadedError, match="2 live feeds; expected at most 2"):
            await door.admission.stream("a", live=True).__aenter__()
    assert door.refused == ["live_feeds"]


async def test_streams_of_one_caller_are_bounded_and_others_are_not_kept_out() -> None:
    door = Door(max_streams_per_caller=1)
    async with door.admission.stream("a", live=True):
        with pytest.raises(OverloadedError, match="1 streams of this caller; expected at most 1"):
            await door.admission.stream("a", live=True).__aenter__()
        async with door.admission.stream("b", live=True):
            pass
    assert door.refused == ["caller_streams"]


async def test_stored_segments_are_bounded_over_all_calls_and_go_with_theirs() -> None:
    door = Door(max_stored_segments=100)
    async with door.admission.stream("a", live=True) as first:
        door.admission.store(first, 60)
        async with door.admission.stream("b", live=True) as second:
            door.admission.store(second, 40)
            with pytest.raises(
                OverloadedError, match="41 stored segments beside 60 of other calls"
            ) as refused:
                door.admission.store(second, 41)
            assert refused.value.retry_after_s
            door.admission.store(first, 10)  # of a live feed the oldest go
            door.admission.store(second, 90)
        door.admission.store(first, 100)
    assert door.refused == ["stored"]


async def test_who_has_few_stored_segments_gets_room_from_who_has_most() -> None:
    door = Door(max_stored_segments=100)
    ended: list[str] = []
    async with contextlib.AsyncExitStack() as inside:
        streams = {}
        for name, caller, held in (("large", "a", 50), ("small", "a", 20), ("other", "b", 30)):
            streams[name] = await inside.enter_async_context(door.admission.stream(caller, live=True))
            streams[name].stored.end = lambda error, name=name: ended.append(f"{name}: {error}")
            door.admission.store(streams[name], held)
        with pytest.raises(OverloadedError, match="36 stored segments beside 70"):
            door.admission.store(streams["other"], 36)  # a would have no more than twice as many
        assert ended == []
        late = await inside.enter_async_context(door.admission.stream("c", live=True))
        with pytest.raises(OverloadedError):
            door.admission.store(late, 5)
        with pytest.raises(OverloadedError):
            door.admission.store(streams["small"], 30)  # whose caller has most itself
    assert len(ended) == 1
    assert ended[0].startswith("large: 50 stored segments of this call, the largest of its caller")


async def test_segments_at_the_models_are_bounded_over_all_calls() -> None:
    door = Door(max_segments_in_flight=2)
    seen: list[int] = []

    async def one() -> None:
        async with door.admission.segment():
            seen.append(door.admission.segments_in_flight)
            await asyncio.sleep(0.01)

    await asyncio.gather(*(one() for _ in range(8)))
    assert max(seen) == 2
    assert door.admission.segments_in_flight == 0


def test_a_limit_of_nothing_is_refused() -> None:
    with pytest.raises(GatewayConfigError, match="max_media_bytes is 0; expected more than 0"):
        GatewayLimits(max_media_bytes=0)
    assert GatewayLimits(max_queued=0).max_queued == 0
    assert GatewayLimits(max_queued_queries=0).max_queued_queries == 0


def full_places(*, most: int, queue_timeout_s: float = 2.0) -> places.Places:
    """All taken, and nobody may wait."""
    busy = Counter({"a": most})
    return places.Places("queries", most, 0, queue_timeout_s, lambda: busy, lambda reason: None)


async def asked_s(full: places.Places, callers: int) -> list[float]:
    """How long so many, who come at once, are asked to wait."""
    told = []
    for _ in range(callers):
        with pytest.raises(OverloadedError) as refused:
            await full.enter("b")
        assert refused.value.retry_after_s is not None
        told.append(refused.value.retry_after_s)
    return told


async def test_who_is_refused_comes_again_when_a_place_may_be_free() -> None:
    full = full_places(most=2)
    for _ in range(200):
        full.left(0.012)
    told = await asked_s(full, 400)
    assert told[0] == places.LEAST_RETRY_S
    assert told == sorted(told)
    # 6 ms from one to the next, as two places are kept for 12 ms each: not all come at one moment
    assert told[99] == pytest.approx(0.6, abs=0.1)
    assert told[-1] == 2.0


async def test_places_that_are_kept_long_are_asked_for_again_no_later_than_one_waits() -> None:
    slow, mixed = full_places(most=2), full_places(most=2)
    for _ in range(200):
        slow.left(3600.0)
        mixed.left(3600.0)
    assert await asked_s(slow, 2) == pytest.approx([2.0, 2.0])
    for _ in range(100):  # what took an hour is forgotten after some short ones
        mixed.left(0.012)
    assert await asked_s(mixed, 1) == [places.LEAST_RETRY_S]
    assert await asked_s(full_places(most=2, queue_timeout_s=0.001), 1) == [0.001]


async def test_a_long_line_is_no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    door = Door(max_uploads=1, max_queued=50, queue_timeout_s=5)
    waits = 0
    really = asyncio.timeout

    def counted(delay_s: float | None) -> asyncio.Timeout:
        nonlocal waits
        waits += 1
        return really(delay_s)

    async def one() -> None:
        async with door.admission.stream("a", live=False):
            pass

    inside = door.admission.stream("slow", live=False)
    slow = await inside.__aenter__()
    line = [asyncio.create_task(one()) for _ in range(50)]
    await asyncio.sleep(0)
    monkeypatch.setattr(asyncio, "timeout", counted)
    await asyncio.sleep(0.4)
    assert 2 <= waits <= 0.4 / places.LOOK_S + 50
    slow.is_busy = lambda: False  # nobody tells; the first of the line looks
    await all_of(line)
    await inside.__aexit__(None, None, None)
    assert door.admission.queued == 0
    assert door.refused == []


async def all_of(tasks: list[asyncio.Task[None]]) -> None:
    """All of them, within a second."""
    done, pending = await asyncio.wait(tasks, timeout=1)
    assert not pending
    assert all(task.exception() is None for task in done)
