"""The parts of a run, each with what it needs set up around it."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from resonance.loadtest.fuzz.canary import Canary
from resonance.loadtest.fuzz.clip_part import fuzz_clips
from resonance.loadtest.fuzz.clips import clip_samples
from resonance.loadtest.fuzz.demux_part import Reader, fuzz_demux
from resonance.loadtest.fuzz.kept import write_samples
from resonance.loadtest.fuzz.mutate import Material, Sample
from resonance.loadtest.fuzz.outside import trace_demux
from resonance.loadtest.fuzz.rpc_part import fuzz_rpc
from resonance.loadtest.fuzz.samples import word_samples
from resonance.loadtest.fuzz.sealed_part import fuzz_sealed
from resonance.loadtest.fuzz.tally import Tally
from resonance.loadtest.fuzz.tokens import dictionary
from resonance.loadtest.gateway.stack import Stack
from resonance.space.descriptor import Descriptor

SPACE = Path("space_descriptor", "1", "space.json")
#: The gateway shall be busy with bad calls, not with refusing them.
RPC_LIMITS: Mapping[str, float] = {
    "max-uploads": 64,
    "max-queries": 64,
    "max-queued": 256,
    "max-queued-queries": 256,
    "queue-timeout-s": 8.0,
}
RPC_AT_ONCE = 8
_FOLDER_PREFIX = "resonance-fuzz-"


class Part(StrEnum):
    """What is fuzzed: see docs/fuzzing.md."""

    DEMUX = "demux"
    SEALED = "sealed"
    CLIPS = "clips"
    RPC = "rpc"
    OUTSIDE = "outside"


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What a run is given. made: files made on the spot; real: cut ones of `media`; whole: a few uncut."""

    made: Sequence[Sample]
    real: Sequence[Sample]
    whole: Sequence[Sample]
    media: Path
    repository: Path
    seed: int
    numbers: range
    workers: int

    @property
    def space(self) -> Path:
        """The space's descriptor."""
        return self.repository / SPACE


Tick = Callable[[], bool]


def demux(tally: Tally, setting: Setting, tick: Tick) -> None:
    """Uploads through the gateway's own reading processes, one for each."""
    with Canary() as canary, tempfile.TemporaryDirectory(prefix=_FOLDER_PREFIX) as spool:
        words = dictionary(canary.path, canary.address)
        run = fuzz_demux(
            tally,
            Reader(Descriptor.load(setting.space), Path(spool)),
            canary,
            Material((*setting.made, *setting.real), words, long=tuple(setting.whole)),
            Material(tuple(word_samples()), words),
            seed=setting.seed,
            numbers=setting.numbers,
            at_once=setting.workers,
            tick=tick,
        )
        asyncio.run(run)


def sealed(tally: Tally, setting: Setting, tick: Tick) -> None:
    """Uploads through the same readers, some hundred in one sealed process."""
    with Canary() as canary, tempfile.TemporaryDirectory(prefix=_FOLDER_PREFIX) as folder:
        files = Path(folder) / "files"
        write_samples([*setting.made, *setting.real], files)
        run = fuzz_sealed(
            tally,
            files,
            setting.space,
            canary,
            seed=setting.seed,
            numbers=setting.numbers,
            workers=setting.workers,
            tick=tick,
        )
        asyncio.run(run)


def clips(tally: Tally, setting: Setting, tick: Tick) -> None:
    """Clips through the decoder of the server's model."""
    with tempfile.TemporaryDirectory(prefix=_FOLDER_PREFIX) as folder:
        path = Path(folder) / "clips"
        write_samples(clip_samples([*setting.made, *setting.real], Descriptor.load(setting.space)), path)
        run = fuzz_clips(
            tally,
            path,
            setting.space,
            seed=setting.seed,
            numbers=setting.numbers,
            workers=setting.workers,
            tick=tick,
        )
        asyncio.run(run)


def rpc(tally: Tally, setting: Setting, tick: Tick) -> None:
    """Calls to a gateway before a Triton."""
    with Canary() as canary, Stack(setting.repository, limits=RPC_LIMITS) as stack:
        run = fuzz_rpc(
            tally,
            stack,
            rpc_media(setting.made),
            dictionary(canary.path, canary.address),
            seed=setting.seed,
            numbers=setting.numbers,
            at_once=RPC_AT_ONCE,
            tick=tick,
        )
        asyncio.run(run)
        for touch in canary.touches():
            tally.find(setting.numbers[-1], "touched", touch)
        if tally.findings:
            shutil.copy(stack.spool / "gateway.log", tally.folder.parent / "gateway.log")


def outside(tally: Tally, setting: Setting, tick: Tick) -> None:
    """`demux` again under strace: what the reading processes ask the kernel for."""
    seen = trace_demux(
        inputs=len(setting.numbers),
        seed=setting.seed,
        media=setting.media,
        repository=setting.repository,
    )
    if seen is None:
        tally.figures["skipped"] = "strace is not there, or may not trace on this machine"
        return
    tally.figures["sealed_processes"] = seen.sealed
    for number, (call, count) in enumerate(seen.attempts.most_common()):
        tally.find(number, "asked outside", f"{count} x {call}")
    if not seen.sealed:
        tally.find(0, "not sealed", "no reading process took the rules on")
    for number in setting.numbers:
        tally.record(number, "traced", 0.0)


def rpc_media(made: Sequence[Sample]) -> dict[str, Sample]:
    """Good files for calls, small and quick to embed."""
    by_name = {sample.name: sample for sample in made}
    return {"film": by_name["vp8.webm"], "sound": by_name["opus.ogg"], "picture": by_name["still.png"]}


PARTS: Mapping[Part, Callable[[Tally, Setting, Tick], None]] = {
    Part.DEMUX: demux,
    Part.SEALED: sealed,
    Part.CLIPS: clips,
    Part.RPC: rpc,
    Part.OUTSIDE: outside,
}
