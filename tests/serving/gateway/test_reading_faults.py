"""Whatever happens to a reading process, the gateway gets a typed error in time and no process stays."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from resonance.clients.errors import (
    CorruptMediaError,
    InvalidFieldError,
    MediaError,
    MediaLimitError,
    MediaStalledError,
    OverloadedError,
    ResonanceError,
    ServerFaultError,
)
from resonance.serving.gateway.reading import (
    NURSERY,
    MediaProcess,
    MemoryBudget,
    ReadLimits,
    SpoolBudget,
    retention,
    wire,
)
from resonance.serving.gateway.reading import nursery as nursery_module
from resonance.serving.gateway.reading import process as process_module
from resonance.serving.gateway.reading.child import READ_AHEAD_SEGMENTS
from resonance.serving.gateway.reading.memory import private_bytes
from resonance.serving.gateway.reading.nursery import Nursery
from resonance.serving.gateway.reading.retention import Retention
from resonance.serving.gateway.reading.spool import Spool
from resonance.serving.gateway.reasons import Kill, Refusal
from resonance.space.descriptor import Descriptor
from tests.clients.media.conftest import make_descriptor
from tests.clients.media.synthetic import even_times, film, sound
from tests.serving.gateway.reading_kit import (
    children_of,
    gone,
    is_alive,
    make_process,
    read_to_end,
    send,
    sending,
)


@pytest.fixture(scope="module")
def descriptor() -> Descriptor:
    """The tests' space."""
    return make_descriptor()


@pytest.fixture(scope="module")
def long_film() -> bytes:
    """120 s, a keyframe every 2 s, its index at the front of each fragment."""
    options = {"preset": "ultrafast", "sc_threshold": "0"}
    return film(even_times(120, 10), rate=10, gop=20, options=options, container="matroska", size=(320, 240))


@pytest.fixture
def short_nursery(monkeypatch: pytest.MonkeyPatch) -> Iterator[Nursery]:
    """A nursery on a machine that runs out of what `short_zygote` says, in the place of the real one."""
    short = Nursery()
    reading = "resonance.serving.gateway.reading"
    monkeypatch.setattr(f"{reading}.nursery.ZYGOTE", "tests.serving.gateway.short_zygote")
    monkeypatch.setattr(f"{reading}.process.NURSERY", short)
    yield short
    short.close()


@pytest.fixture(scope="module")
def long_sound() -> bytes:
    """600 s of noise in a WAV: 19 MB."""
    noise = np.random.default_rng(1).normal(0, 0.1, 600 * 16_000).astype(np.float32)
    return sound(noise, rate_hz=16_000)


async def test_the_first_segment_comes_before_the_last_byte(
    descriptor: Descriptor, long_film: bytes, tmp_path: Path
) -> None:
    process = make_process(descriptor, tmp_path)
    quarter = len(long_film) // 4
    await process.feed(0, long_film[:quarter])
    assert process.spooled is False or process.spooled is None
    await process.open()
    first = await process.next()
    assert first is not None
    assert first.index == 0
    assert process.received_bytes == quarter
    while not process.waiting:  # it gives what it has, and then wants more
        if process._answers.queued:
            await process.next()
        await asyncio.sleep(0.01)
    rest = asyncio.create_task(read_to_end_of(process))
    await process.feed(quarter, long_film[quarter:])
    await process.end()
    assert (await rest)[-1] == 14
    await process.close()


async def read_to_end_of(process: MediaProcess) -> list[int]:
    """Indices that are left."""
    indices = []
    while (segment := await process.next()) is not None:
        indices.append(segment.index)
    return indices


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGABRT", "SIGBUS", "SIGTERM"])
async def test_a_killed_process_is_a_typed_error(
    descriptor: Descriptor, long_film: bytes, tmp_path: Path, name: str
) -> None:
    kills: list[Kill] = []
    process = make_process(descriptor, tmp_path, on_killed=kills.append)
    await process.feed(0, long_film[: len(long_film) // 2])
    await process.open()
    pid = process.pid
    assert pid is not None
    os.kill(pid, getattr(signal, name))
    with pytest.raises(CorruptMediaError, match=name):
        await asyncio.wait_for(read_to_end(process), 5)
    with pytest.raises(CorruptMediaError, match=name):
        await process.feed(len(long_film) // 2, b"more")
    assert await gone(pid)
    await process.close()
    assert kills == [Kill.CRASH]


async def test_what_the_machine_lacks_is_no_fault_of_the_media(
    descriptor: Descriptor, long_film: bytes, tmp_path: Path, short_nursery: Nursery
) -> None:
    kills: list[Kill] = []
    process = make_process(descriptor, tmp_path, on_killed=kills.append)
    await process.feed(0, long_film[: len(long_film) // 2])
    await process.open()
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)  # as the kernel does where memory is short
    with pytest.raises(
        ServerFaultError, match=r"killed at [\d,]+ bytes.*expected 1,073,741,824.*send it again"
    ):
        await asyncio.wait_for(read_to_end(process), 5)
    await process.close()
    for threads in (0, 2, 3, 4):  # its own, and those that the media are read in
        process = make_process(descriptor, tmp_path, media_id=f"{threads} threads", on_killed=kills.append)
        async with sending(process, long_film):
            with pytest.raises(ServerFaultError, match="no thread; expected room"):
                await asyncio.wait_for(read_to_end(process), 5)
    assert kills == [Kill.SHORTAGE] * 5


def test_what_the_gateways_environment_holds_is_not_in_its_readers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of-the-gateway")
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    nursery = Nursery()
    try:
        asyncio.run(nursery.warm_up())
        assert nursery._zygote is not None
        told = Path(f"/proc/{nursery._zygote.pid}/environ").read_bytes().split(b"\0")
    finally:
        nursery.close()
    assert b"LC_ALL=C.UTF-8" in told
    assert b"of-the-gateway" not in b" ".join(told)


async def test_a_process_that_cannot_be_started_ends_no_other(
    descriptor: Descriptor,
    long_film: bytes,
    tmp_path: Path,
    short_nursery: Nursery,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(nursery_module.ENVIRONMENT, "FAILING_FORK", "2")
    refused: list[Refusal] = []
    first = make_process(descriptor, tmp_path)
    await first.feed(0, long_film[:100_000])
    second = make_process(descriptor, tmp_path, on_refused=refused.append)
    with pytest.raises(OverloadedError, match=r"temporarily unavailable\) beside 1; expected room") as told:
        await second.feed(0, long_film[:100_000])
    assert told.value.retry_after_s == 5
    assert refused == [Refusal.READER]
    await second.close()
    third = make_process(descriptor, tmp_path)
    async with sending(third, long_film):
        assert len(await read_to_end(third)) == 15
    await first.feed(100_000, long_film[100_000:])
    await first.end()
    assert len(await read_to_end(first)) == 15
    await first.close()


async def test_threads_that_its_own_limit_refuses_are_the_fault_of_the_media(
    descriptor: Descriptor, long_film: bytes, tmp_path: Path
) -> None:
    process = make_process(descriptor, tmp_path, limits=ReadLimits(memory_bytes=1 << 20))  # half a stack
    async with sending(process, long_film):
        with pytest.raises(MediaLimitError, match="memory"):
            await asyncio.wait_for(read_to_end(process), 10)


async def test_a_process_that_makes_no_step_is_killed(
    descriptor: Descriptor, long_film: bytes, tmp_path: Path
) -> None:
    process = make_process(descriptor, tmp_path, limits=ReadLimits(stall_timeout_s=0.5))
    await process.feed(0, long_film[: len(long_film) // 2])
    await process.open()
    pid = process.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)  # as a library that loops for ever, it neither reads nor says anything
    await process.feed(len(long_film) // 2, long_film[len(long_film) // 2 :])
    await process.end()
    started = time.monotonic()
    with pytest.raises(MediaStalledError, match=r"0\.5 s"):
        await read_to_end(process)
    assert time.monotonic() - started < 5
    assert await gone(pid)
    await process.close()


@pytest.mark.parametrize(("size", "ends"), [((4000, 3000), False), ((1000, 500), True)])
async def test_a_still_picture_is_one_step_that_may_take_as_long_as_its_pixels_need(
    descriptor: Descriptor, tmp_path: Path, size: tuple[int, int], ends: bool
) -> None:
    file = io.BytesIO()
    Image.new("RGB", size).save(file, "PNG")
    data = file.getvalue()
    process = make_process(descriptor, tmp_path, limits=ReadLimits(stall_timeout_s=0.5))
    await process.feed(0, data[: len(data) // 2])  # its size is known, and its end waited for
    async with asyncio.timeout(10):
        while process._answers.timeout_s == 0.5:
            await process._answers.wait()
    pid = process.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)  # as a decoder that says nothing before it is done
    await process.feed(len(data) // 2, data[len(data) // 2 :])
    await process.end()
    if ends:
        with pytest.raises(MediaStalledError, match=r"for 0\.75 s"):
            await asyncio.wait_for(read_to_end(process), 5)
        assert await gone(pid)
    else:
        await asyncio.sleep(2.5)  # over the time and the grace
        os.kill(pid, signal.SIGCONT)
        assert len(await read_to_end(process)) == 1
    await process.close()


async def test_missing_bytes_and_slow_takers_are_no_stall(
    descriptor: Descriptor, long_film: bytes, tmp_path: Path
) -> None:
    process = make_process(descriptor, tmp_path, limits=ReadLimits(stall_timeout_s=0.3))
    await process.feed(0, long_film[:2000])
    await asyncio.sleep(2.5)  # over the time and the grace
    await process.feed(2000, long_film[2000:])
    await process.end()
    await process.open()
    await asyncio.sleep(2.5)  # nobody takes
    assert len(await read_to_end_of(process)) == 15
    await process.close()


async def test_memory_is_limited(descriptor: Descriptor, media: Path, tmp_path: Path) -> None:
    data = (media / "odd" / "image_huge_12000x9000.jpg").read_bytes()
    spare = make_process(descriptor, tmp_path, limits=ReadLimits(memory_bytes=1 << 29))
    async with sending(spare, data):
        assert len(await read_to_end(spare)) == 1
    process = make_process(descriptor, tmp_path, limits=ReadLimits(memory_bytes=8 << 20))
    async with sending(process, data):
        with pytest.raises(MediaLimitError, match="memory"):
            await asyncio.wait_for(read_to_end(process), 10)


async def test_what_the_process_says_is_not_believed(
    descriptor: Descriptor, long_film: bytes, tmp_path: Path
) -> None:
    process = make_process(descriptor, tmp_path)
    await process.feed(0, long_film)
    await process.open()
    lies = [
        b"\xff" * 8,
        b"".join(wire.packed("segment", [b"x"], index=0, text=True)),
        b"".join(wire.packed("segment", [], index=0, pcm_length=5)),
        b"".join(wire.packed("info", [], container="x")),
        b"".join(wire.packed("state", [], handles=[[-1, 0]], waits=[], forgotten=0)),
        b"".join(wire.packed("still", [], pixels=1)),  # what it is was told before
        b"\0\0\0\2\0\0\0\0[]",
    ]
    for lie in lies:
        with pytest.raises(wire.WireError):
            _hear(process, lie)
    await process.close()


def _hear(process: MediaProcess, data: bytes) -> None:
    header, body = wire.lengths(data[:8])
    process._answers.take(wire.unpacked(data[8 : 8 + header], data[8 + header : 8 + header + body]))


async def test_closing_kills_at_once_and_gives_all_back(
    descriptor: Descriptor, long_film: bytes, tmp_path: Path
) -> None:
    budget = SpoolBudget(1 << 30)
    processes = [make_process(descriptor, tmp_path, budget=budget) for _ in range(10)]
    await asyncio.gather(*(p.feed(0, long_film[:100_000]) for p in processes))
    pids = [p.pid for p in processes]
    assert budget.used_bytes == 10 * 100_000
    started = time.monotonic()
    await asyncio.gather(*(p.close() for p in processes))
    assert time.monotonic() - started < 2
    assert not any(is_alive(pid) for pid in pids if pid is not None)
    assert budget.used_bytes == 0
    assert not os.listdir(tmp_path)


async def test_a_cancelled_start_leaves_no_process(descriptor: Descriptor, tmp_path: Path) -> None:
    await NURSERY.warm_up()
    for delay_s in (0.0, 0.002, 0.005, 0.01):
        process = make_process(descriptor, tmp_path)
        task = asyncio.create_task(process.open())
        await asyncio.sleep(delay_s)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await process.close()
    zygote = NURSERY._zygote
    assert zygote is not None
    assert not [pid for pid in children_of(zygote.pid) if is_alive(pid)]


async def test_no_caller_takes_the_disk_of_the_others(
    descriptor: Descriptor, long_film: bytes, tmp_path: Path
) -> None:
    budget = SpoolBudget(150_000)
    size = len(long_film)
    takes = [make_process(descriptor, tmp_path, budget=budget, caller="a", size_bytes=size) for _ in range(2)]
    other = make_process(descriptor, tmp_path, budget=budget, caller="b", size_bytes=size)
    await takes[0].feed(0, long_film[:100_000])
    await takes[1].feed(0, long_film[:50_000])
    with pytest.raises(OverloadedError, match=r"150,000 bytes on disk and 40,000 came"):
        await other.feed(0, long_film[:40_000])
    with pytest.raises(OverloadedError, match=r"100,000 bytes on disk of this call.*holds most") as given_up:
        await read_to_end(takes[0])
    assert given_up.value.retry_after_s
    await takes[0].close()
    await other.feed(0, long_film[:40_000])
    assert budget.used_bytes == 90_000
    for process in (takes[1], other):
        await process.close()
    assert budget.used_bytes == 0
    assert budget.shares == set()


async def test_the_memory_of_all_readers_is_bounded_too(
    descriptor: Descriptor, long_film: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An MP4 whose index of 600 bytes names 30 million samples makes its reader hold 1 GB while it waits."""
    memory, killed = MemoryBudget(1000), []
    held = dict[int, int]()
    monkeypatch.setattr(process_module, "private_bytes", lambda pid: held.get(pid, 0))
    many = [
        make_process(
            descriptor,
            tmp_path,
            memory=memory,
            caller=caller,
            size_bytes=len(long_film),
            on_killed=lambda kill, caller=caller: killed.append((caller, kill)),
        )
        for caller in ("b", "a", "a")
    ]
    for process, size in zip(many, (450, 300, 400), strict=True):
        await process.feed(0, long_film[:1000])
        assert process.pid is not None
        held[process.pid] = size
    with pytest.raises(OverloadedError, match=r"hold 1,150 bytes of memory, 400 of them.*at most 1,000"):
        async with asyncio.timeout(5):
            await read_to_end(many[2])
    await asyncio.sleep(2 * process_module.MOST_LOOK_S)
    assert killed == [("a", Kill.SHORTAGE)]
    assert memory.used_bytes == 750
    for process in many:
        await process.close()
    assert memory.used_bytes == 0


async def test_memory_counts_that_a_process_has_written_to_and_no_file_backs(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(32 << 20))
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        _ALLOCATING,
        str(tmp_path / "file"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    held = []
    for _ in range(4):
        assert await asyncio.wait_for(child.stdout.readline(), 30) == b"there\n"
        held.append(private_bytes(child.pid))
        child.stdin.write(b"\n")
    await child.wait()
    kept, mapped, written = np.diff(held)
    assert abs(kept) < 4 << 20  # reserved, and not written to
    assert abs(mapped) < 4 << 20  # a file's
    assert abs(written - (64 << 20)) < 4 << 20
    assert private_bytes(child.pid) == 0


_ALLOCATING = """
import mmap, sys
def there():
    print("there", flush=True)
    sys.stdin.readline()
there()
kept = mmap.mmap(-1, 256 << 20, flags=mmap.MAP_PRIVATE)
there()
with open(sys.argv[1], "rb") as file:
    mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
for at in range(0, len(mapped), 4096):
    mapped[at]
there()
written = bytearray(b"x") * (64 << 20)
there()
"""


async def test_the_memory_of_a_reader_that_failed_counts_until_it_is_gone(
    descriptor: Descriptor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = [0]
    monkeypatch.setattr(process_module, "private_bytes", lambda pid: held[0])
    memory = MemoryBudget(1000)
    process = make_process(descriptor, tmp_path, memory=memory)
    await send(process, bytes(10_000), chunk=10_000)
    with pytest.raises(MediaError):
        await process.open()
    await asyncio.sleep(2 * process_module.MOST_LOOK_S)
    held[0] = 700
    await asyncio.sleep(2 * process_module.MOST_LOOK_S)
    assert process.pid is not None
    assert memory.used_bytes == 700
    os.kill(process.pid, signal.SIGKILL)
    assert await gone(process.pid)
    await asyncio.sleep(2 * process_module.MOST_LOOK_S)
    assert process.pid is None
    assert memory.used_bytes == 0  # its call is not closed yet
    await process.close()


async def test_media_that_cannot_be_read_are_not_to_be_sent_again_for_want_of_memory(
    descriptor: Descriptor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, told, kills = [0], list[ResonanceError](), list[Kill]()
    monkeypatch.setattr(process_module, "private_bytes", lambda pid: held[0])
    process = make_process(
        descriptor, tmp_path, memory=MemoryBudget(1000), on_given_up=told.append, on_killed=kills.append
    )
    await send(process, bytes(10_000), chunk=10_000)
    with pytest.raises(MediaError) as fault:
        await process.open()
    assert process.pid is not None
    pid, held[0] = process.pid, 1001
    assert await gone(pid)
    assert told == [fault.value]
    assert kills == []
    await process.close()


async def test_the_budget_and_the_limits_hold(
    descriptor: Descriptor, long_film: bytes, tmp_path: Path
) -> None:
    budget = SpoolBudget(150_000)
    first = make_process(descriptor, tmp_path, budget=budget)
    second = make_process(descriptor, tmp_path, budget=budget, size_bytes=len(long_film))
    await first.feed(0, long_film[:100_000])
    with pytest.raises(OverloadedError, match=r"100,000 bytes on disk and 60,000 came.*150,000"):
        await second.feed(0, long_film[:60_000])
    await first.close()
    await second.feed(0, long_film[:60_000])
    await second.feed(0, long_film[:60_000])  # the same bytes take no more room
    assert budget.used_bytes == second.received_bytes == 60_000
    await second.close()

    small = ReadLimits(max_media_bytes=1000)
    with pytest.raises(MediaLimitError, match=r"2,000 bytes; expected at most 1,000"):
        await make_process(descriptor, tmp_path, limits=small, size_bytes=2000).open()
    with pytest.raises(MediaLimitError, match=r"1,001 bytes; expected at most 1,000"):
        await make_process(descriptor, tmp_path, limits=small).feed(0, bytes(1001))
    short = make_process(descriptor, tmp_path, limits=ReadLimits(max_media_s=30))
    async with sending(short, long_film):
        with pytest.raises(MediaLimitError, match=r"120 s; expected at most 30 s"):
            await read_to_end(short)
    cut = make_process(descriptor, tmp_path, size_bytes=len(long_film))
    await cut.feed(0, long_film[:5000])
    with pytest.raises(CorruptMediaError, match=r"5,000 of"):
        await cut.end()
    with pytest.raises(InvalidFieldError, match="size_bytes"):
        await cut.feed(len(long_film), b"x")
    await cut.close()


@pytest.mark.parametrize("mode", ["encoded", "text", "live"])
@pytest.mark.parametrize("offset", [0, 999, 1001])  # 0: left out
async def test_without_a_size_a_chunk_begins_where_the_bytes_so_far_end(
    descriptor: Descriptor, tmp_path: Path, mode: str, offset: int
) -> None:
    as_a_feed = {"mode": "encoded", "live": True}
    process = make_process(descriptor, tmp_path, **(as_a_feed if mode == "live" else {"mode": mode}))
    try:
        await process.feed(0, b"words " * 100)
        await process.feed(600, b"words " * 66 + b"more")
        with pytest.raises(InvalidFieldError, match=f"offset_bytes: {offset:,}; expected 1,000, where"):
            await process.feed(offset, b"words " * 100)
    finally:
        await process.close()


async def test_what_comes_in_order_after_all_that_is_wanted_is_passed_over(
    descriptor: Descriptor, media: Path, tmp_path: Path
) -> None:
    picture = (media / "image" / "food_cherries.jpg").read_bytes() + bytes(1 << 20)
    process = make_process(descriptor, tmp_path)
    await process.feed(0, picture)
    assert len(await read_to_end(process)) == 1
    for at in range(len(picture), len(picture) + 300, 100):
        await process.feed(at, bytes(100))
    await process.end()
    await process.close()


async def test_an_upload_is_held_back_and_what_is_waited_for_is_taken(
    descriptor: Descriptor, long_sound: bytes, tmp_path: Path
) -> None:
    limits = ReadLimits(ahead_bytes=1 << 20)
    process = make_process(descriptor, tmp_path, limits=limits)
    async with sending(process, long_sound, chunk=200_000):
        await process.open()
        await process.next()
        await asyncio.sleep(1.0)
        held = process.received_bytes
        # windows of 256 kB: those read ahead, the bytes allowed ahead and a chunk
        assert held < 6_000_000
        taken = 1
        while (await process.next()) is not None:
            taken += 1
    assert taken == 75


async def test_a_process_does_not_read_while_what_it_has_read_is_not_taken(
    descriptor: Descriptor, long_film: bytes, tmp_path: Path
) -> None:
    process = make_process(descriptor, tmp_path)
    async with sending(process, long_film):
        assert not process.reading  # it is not started
        await process.open()
        async with asyncio.timeout(10):
            while process._answers.queued < READ_AHEAD_SEGMENTS:
                await process._answers.wait()
        assert not process.reading
        await process.next()
        assert process.reading
        await read_to_end_of(process)
        assert not process.reading


async def test_a_live_feed_keeps_its_disk_flat(
    descriptor: Descriptor, long_sound: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "RETENTION_BYTES", 1 << 20)
    budget = SpoolBudget(8_000_000)  # the whole would be 19 MB
    limits = ReadLimits(ahead_bytes=1 << 20, max_media_bytes=None, max_media_s=None)
    process = make_process(descriptor, tmp_path, limits=limits, budget=budget, live=True)
    most = 0
    async with sending(process, long_sound, chunk=100_000):
        await process.open()
        while (await process.next()) is not None:
            most = max(most, budget.used_bytes)
            await asyncio.sleep(0.01)
        assert process.received_bytes == len(long_sound)
    assert most < 8_000_000


def test_a_position_beyond_what_came_gives_nothing_back(tmp_path: Path) -> None:
    budget = SpoolBudget(100 << 20)
    spool = Spool(tmp_path, budget)
    keeping = Retention(spool)
    far = [(5 << 40, 1 << 20)]
    spool.write(0, bytes(1 << 20))
    assert keeping.look(far, 0) is None
    for at in range(1, 80):
        spool.write(at << 20, bytes(1 << 20))
    before = keeping.look(far, 0)
    assert before == 16 << 20  # of 80 MiB the last 64 are kept
    keeping.look(far, before)
    assert budget.used_bytes == spool.held_bytes == 64 << 20
    spool.forget(1 << 40)
    assert budget.used_bytes == spool.held_bytes == 0
    spool.write(0, bytes(1 << 20))  # sent again: nothing that was forgotten takes room a second time
    assert budget.used_bytes == 0
    assert os.fstat(spool._file.fileno()).st_blocks == 0
    spool.close()


def test_gaps_of_a_feed_are_not_given_back(tmp_path: Path) -> None:
    budget = SpoolBudget(1 << 20)
    spool = Spool(tmp_path, budget)
    spool.write(0, bytes(4096))
    spool.write(40_960, bytes(4096))
    spool.forget(45_056)
    assert budget.used_bytes == spool.held_bytes == 0
    spool.close()


async def test_a_live_feed_that_cannot_be_read_as_it_comes_is_refused(
    descriptor: Descriptor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_module, "STALL_GRACE_S", 0.0)
    brand = (24).to_bytes(4, "big") + b"ftypisom" + bytes(4) + b"isommp41"
    media_of_a_tib = (1).to_bytes(4, "big") + b"mdat" + (1 << 40).to_bytes(8, "big")
    budget = SpoolBudget(1 << 30)
    limits = ReadLimits(ahead_bytes=1 << 20, max_media_bytes=None, max_media_s=None, stall_timeout_s=1.0)
    process = make_process(descriptor, tmp_path, limits=limits, budget=budget, live=True)
    opening = asyncio.create_task(process.open())
    with pytest.raises(MediaStalledError, match=r"live feed .* waits for byte 1,099,511,627,800; .* MPEG-TS"):
        await send(process, brand + media_of_a_tib + bytes(32 << 20), chunk=1 << 18)
    with pytest.raises(MediaStalledError):
        await opening
    assert budget.used_bytes < 8 << 20
    await process.close()
    assert budget.used_bytes == 0


@pytest.mark.parametrize("stored", [0, 3])
async def test_pictures_one_after_the_other_are_no_live_feed(
    descriptor: Descriptor, media: Path, tmp_path: Path, stored: int
) -> None:
    picture = (media / "image" / "food_cherries.jpg").read_bytes()
    process = make_process(descriptor, tmp_path, live=True, first_index=stored)
    with pytest.raises(InvalidFieldError, match=r"start\.live: true, with a still picture; .* MODE_FRAMES"):
        async with sending(process, picture * 4):
            await read_to_end(process)


async def test_a_gateway_that_is_killed_takes_its_processes_along(long_film: bytes, tmp_path: Path) -> None:
    (tmp_path / "film").write_bytes(long_film[:100_000])
    gateway = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _GATEWAY, str(tmp_path), stdout=subprocess.PIPE
    )
    assert gateway.stdout is not None
    pids = [int(pid) for pid in (await asyncio.wait_for(gateway.stdout.readline(), 60)).split()]
    assert len(pids) == 4
    assert all(is_alive(pid) for pid in pids)
    gateway.kill()
    await gateway.wait()
    for pid in pids:
        assert await gone(pid)


_GATEWAY = """
import asyncio, sys
from pathlib import Path
from tests.clients.media.conftest import make_descriptor
from tests.serving.gateway.reading_kit import make_process
from resonance.serving.gateway.reading import NURSERY
async def main():
    folder = Path(sys.argv[1])
    processes = [make_process(make_descriptor(), folder) for _ in range(3)]
    for process in processes:
        await process.feed(0, (folder / "film").read_bytes())
        await process.open()
    print(NURSERY._zygote.pid, *(p.pid for p in processes), flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""


async def test_a_zygote_that_is_killed_is_replaced(
    descriptor: Descriptor, long_film: bytes, tmp_path: Path
) -> None:
    process = make_process(descriptor, tmp_path)
    await process.feed(0, long_film[:100_000])
    await process.open()
    zygote, pid = NURSERY._zygote, process.pid
    assert zygote is not None
    assert pid is not None
    zygote.kill()
    assert await gone(pid)
    with pytest.raises(ServerFaultError, match="send it again"):
        await asyncio.wait_for(read_to_end(process), 30)
    again = make_process(descriptor, tmp_path)
    async with sending(again, long_film):
        await again.open()
        await process.close()  # the number of one that is gone may be another's by now
        assert len(await read_to_end_of(again)) == 15


async def test_a_hundred_uploads_at_once(descriptor: Descriptor, media: Path, tmp_path: Path) -> None:
    data = (media / "audio" / "esc10_dog_bark_1-110389-A.flac").read_bytes()
    processes = [make_process(descriptor, tmp_path) for _ in range(100)]
    await asyncio.gather(*(p.feed(0, data[:1000]) for p in processes))
    assert len({p.pid for p in processes}) == 100

    async def finish(process: MediaProcess) -> int:
        await process.feed(1000, data[1000:])
        await process.end()
        return len(await read_to_end(process))

    assert set(await asyncio.gather(*map(finish, processes))) == {1}
    await asyncio.gather(*(p.close() for p in processes))


async def test_hostile_bytes_end_in_a_typed_error(
    descriptor: Descriptor, media: Path, tmp_path: Path
) -> None:
    """A few here; the fuzzers do the rest."""
    rng = np.random.default_rng(4)
    said: list[str] = []
    for name in ("video/transcode_elf_hevc_aac.mp4", "odd/image_icon.ico", "audio/bird_robin_whistle.ogg"):
        data = np.frombuffer((media / name).read_bytes(), np.uint8).copy()
        data[rng.integers(0, min(data.size, 3000), 30)] = rng.integers(0, 256, 30)
        process = make_process(descriptor, tmp_path)
        async with sending(process, data.tobytes()):
            try:
                await asyncio.wait_for(read_to_end(process), 10)
            except MediaError as error:
                said.append(str(error))
    assert not [line for line in said if "SIGSYS" in line]


async def test_the_end_can_come_before_anything_is_read(descriptor: Descriptor, tmp_path: Path) -> None:
    process = make_process(descriptor, tmp_path)
    await send(process, b"", chunk=1)
    with pytest.raises(MediaError):
        await read_to_end(process)
    await process.close()


async def test_who_still_sends_to_a_closed_reader_is_told_nothing_of_the_media(
    descriptor: Descriptor, media: Path, tmp_path: Path
) -> None:
    """A call that fails for the server's fault closes its reader; the media is not to blame for it."""
    data = (media / "video" / "fixedcam_people_at_table_139s.mp4").read_bytes()
    process = make_process(descriptor, tmp_path, limits=ReadLimits(ahead_bytes=100_000))
    waits = asyncio.create_task(process.feed(0, data))  # further ahead than may be
    await process.open()
    await asyncio.sleep(0.2)
    assert not waits.done()
    await process.close()
    await asyncio.wait_for(waits, 5)
    await process.feed(len(data), b"more")
    await process.end()
