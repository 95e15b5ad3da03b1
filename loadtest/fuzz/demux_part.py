"""The part `demux`: mutated uploads through the process that reads them in the gateway, in strict mode."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from resonance.clients.errors import MediaError, ResonanceError, UsageError
from resonance.loadtest.fuzz.canary import Canary
from resonance.loadtest.fuzz.mutate import Material
from resonance.loadtest.fuzz.reading import DECODED_AGAIN, LIMITS, MIB, MOST_SEGMENTS, check_segment
from resonance.loadtest.fuzz.tally import HANG_S, Tally
from resonance.loadtest.fuzz.uploads import Upload, make_upload
from resonance.serving.gateway.reading import MediaProcess, ReadRequest, SpoolBudget
from resonance.space.descriptor import Descriptor

#: The reading process was ended by a signal: the parent names it in the error.
SIGNAL = re.compile(r"\bSIG[A-Z]+\b")
#: Signals by which the kernel ends what leaves its box: never contained, always a finding.
OUTSIDE = frozenset(("SIGSYS",))


@dataclass(slots=True)
class Reader:
    """Reads uploads as the gateway does.

    Attributes:
        strict: an attempt to leave the box ends the process with SIGSYS, so that it is seen.
    """

    descriptor: Descriptor
    spool_folder: Path
    strict: bool = True
    budget: SpoolBudget = field(default_factory=lambda: SpoolBudget(1024 * MIB))

    async def read(self, upload: Upload) -> int:
        """Read all of it; how many segments it has.

        Raises:
            Exception: what reading raised.
        """
        request = ReadRequest(
            media_id=f"input {upload.mutant.number}",
            mode=upload.mode,
            sampling=upload.sampling,
            modalities=upload.modalities,
            first_index=upload.first_index,
            live=upload.live,
            size_bytes=upload.size_bytes,
            subtitles=upload.subtitles,
        )
        source = MediaProcess(
            request,
            self.descriptor,
            LIMITS,
            self.spool_folder,
            self.budget,
            on_violation="kill" if self.strict else "refuse",
        )
        sending = asyncio.create_task(_send(source, upload))
        count = 0
        try:
            await source.open()
            while count < MOST_SEGMENTS and (segment := await source.next()) is not None:
                if count < DECODED_AGAIN:
                    await source.decode_segment(segment)
                check_segment(segment, upload.first_index, self.descriptor)
                count += 1
            return count
        finally:
            sending.cancel()
            await source.close()
            with contextlib.suppress(asyncio.CancelledError, MediaError):
                await sending


async def _send(source: MediaProcess, upload: Upload) -> None:
    for offset, data in upload.chunks:
        await source.feed(offset, data)
    await source.end()


async def fuzz_demux(
    tally: Tally,
    reader: Reader,
    canary: Canary,
    files: Material,
    words: Material,
    *,
    seed: int,
    numbers: range,
    at_once: int,
    tick: Callable[[], bool],
) -> None:
    """Read the uploads of `numbers`, `at_once` at a time.

    Args:
        canary: what `files` name and must not be touched.
        tick: called after each input; False ends the run.
    """
    left: Iterator[int] = iter(numbers)
    slow: list[Upload] = []
    before = await _settled()

    async def work() -> None:
        for number in left:
            await _one(tally, reader, canary, make_upload(files, words, seed=seed, number=number), slow)
            if not tick():
                return

    await asyncio.gather(*(work() for _ in range(at_once)))
    for upload in slow:
        await _one(tally, reader, canary, upload)
    tally.figures["slow_beside_others"] = len(slow)
    after = await _settled(before)
    last = numbers[-1] if numbers else 0
    for name, now in after.items():
        # the first processes are made on the way, such as the one that the others come from
        if now > before[name] + 4:
            tally.find(last, "left behind", f"{name}: {now}; {before[name]} before")
    if reader.budget.used_bytes:
        tally.find(last, "left behind", f"{reader.budget.used_bytes:,} bytes spooled; expected 0")
    if files_left := list(reader.spool_folder.iterdir()):
        tally.find(last, "left behind", f"{len(files_left)} files in the spool folder; expected 0")
    tally.figures |= {"descriptors_before": before["descriptors"], "descriptors_end": after["descriptors"]}
    tally.figures |= {"children_before": before["children"], "children_end": after["children"]}


async def _one(
    tally: Tally, reader: Reader, canary: Canary, upload: Upload, slow: list[Upload] | None = None
) -> None:
    """Read it; what takes too long beside others is put on `slow`, to be read alone."""
    number, data = upload.mutant.number, upload.mutant.data
    started = time.monotonic()
    try:
        count = await asyncio.wait_for(reader.read(upload), HANG_S)
        outcome = "read" if count else "nothing in the windows wanted"
    except TimeoutError:
        if slow is not None:
            slow.append(upload)
            return
        outcome = "hang"
        tally.find(number, "hang", f"over {HANG_S:g} s: {upload.about}", data)
    except (MediaError, UsageError) as error:
        outcome = type(error).__name__
        if type(error) is MediaError:  # a fault of the reader, which is not told in other words
            tally.find(number, "fault", f"{error}: {upload.about}", data)
        if signal := SIGNAL.search(error.came if isinstance(error, MediaError) else ""):
            outcome = f"{outcome} ({signal[0]})"
            if signal[0] in OUTSIDE:
                tally.find(number, f"signal {signal[0]}", f"{error}: {upload.about}", data)
            else:
                tally.contain(number, f"{signal[0]} in {upload.mutant.sample}", data)
    except Exception as error:
        outcome = f"{'other' if isinstance(error, ResonanceError) else 'untyped'} {type(error).__name__}"
        tally.find(number, outcome, f"{error}: {upload.about}", data)
    tally.record(number, outcome, time.monotonic() - started)
    for touch in canary.touches():
        tally.find(number, "touched", f"{touch}, by one of the inputs under way: {upload.about}", data)


async def _settled(before: dict[str, int] | None = None) -> dict[str, int]:
    """What this process holds, once what was killed is gone."""
    this = psutil.Process()
    for _ in range(40):
        held = {"descriptors": this.num_fds(), "children": len(this.children(recursive=True))}
        if before is None or all(held[name] <= before[name] for name in held):
            break
        await asyncio.sleep(0.1)
    return held
