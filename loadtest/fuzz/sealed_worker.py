"""A process that reads mutated uploads in children as sealed as those of the gateway, some hundred in each.

The gateway takes a process for each upload, which costs more than reading such small ones. What it takes a
process for, a crash or an attempt to reach something outside, ends the child here just so, and is told.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import av

from resonance.clients.errors import MediaError
from resonance.clients.media.clip import decode_clip
from resonance.clients.media.growing import GrowingSource
from resonance.clients.media.reader import open_media
from resonance.clients.media.types import Clip, Limits
from resonance.clients.media.words import SubtitleFile
from resonance.loadtest.fuzz.clip_worker import fault, say
from resonance.loadtest.fuzz.kept import read_samples
from resonance.loadtest.fuzz.mutate import Material
from resonance.loadtest.fuzz.reading import DECODED_AGAIN, LIMITS, MOST_SEGMENTS, check_segment
from resonance.loadtest.fuzz.samples import word_samples
from resonance.loadtest.fuzz.tokens import dictionary
from resonance.loadtest.fuzz.uploads import Upload, make_upload
from resonance.serving.gateway.reading import confine
from resonance.serving.gateway.reading.zygote import import_late
from resonance.serving.launch import die_with_parent
from resonance.space.descriptor import Descriptor

#: Uploads a child reads before the next one is forked.
BATCH = 200
_READING, _DECODING = 0, 1


def main(arguments: Sequence[str]) -> None:
    """FILES SPACE PATH ADDRESS SEED FIRST STEP END; PATH and ADDRESS are those of the canary."""
    files, space, path, address = arguments[:4]
    seed, first, step, end = (int(value) for value in arguments[4:])
    av.logging.set_level(av.logging.PANIC)
    import_late()
    words = dictionary(path, address)
    material = Material(tuple(read_samples(Path(files))), words)
    texts = Material(tuple(word_samples()), words)
    descriptor = Descriptor.load(space)
    install = confine.build_filter(strict=True)
    if install is None:
        raise SystemExit("system calls cannot be filtered on this machine: libseccomp is missing")
    # shared with the children: the number that is read, and what is done to it
    shared = mmap.mmap(-1, 16)
    number = first
    while number < end:
        shared[:16] = number.to_bytes(8, "little") + bytes(8)
        child = os.fork()
        if child == 0:
            status = 1
            try:
                die_with_parent()
                confine.limit_resources(LIMITS.memory_bytes)
                install()
                for at in range(number, min(end, number + BATCH * step), step):
                    shared[:8] = at.to_bytes(8, "little")
                    _one(make_upload(material, texts, seed=seed, number=at), descriptor, shared)
                status = 0
            finally:
                os._exit(status)
        _, waited = os.waitpid(child, 0)
        number = int.from_bytes(shared[:8], "little") + step
        code = os.waitstatus_to_exitcode(waited)
        if code != 0:
            ended = signal.Signals(-code).name if code < 0 else f"status {code}"
            what = "decoding" if shared[8] == _DECODING else "reading"
            say(number - step, 0.0, f"died {what} {ended}")


def _one(upload: Upload, descriptor: Descriptor, shared: mmap.mmap) -> None:
    started = time.monotonic()
    try:
        count = _read(upload, descriptor, shared)
        outcome = "read" if count else "nothing in the windows wanted"
    except MediaError as error:
        outcome = type(error).__name__
    except MemoryError:
        outcome = "MediaLimitError"  # the gateway's processes answer so
    except Exception as error:
        outcome = fault(error)
    say(upload.mutant.number, time.monotonic() - started, outcome)


def _read(upload: Upload, descriptor: Descriptor, shared: mmap.mmap) -> int:
    """Read all of it, and decode its clips as the server's model does; how many segments it has."""
    data = upload.mutant.data
    name = f"input {upload.mutant.number}"
    source = GrowingSource(name, lambda at, size: data[at : at + size], size_bytes=upload.size_bytes)
    for offset, piece in upload.chunks:
        source.add(offset, len(piece))
    source.end(len(data))
    form, transcript = "encoded", None
    if upload.subtitles is not None:
        transcript = SubtitleFile(upload.subtitles[0], upload.subtitles[1], name)
    if upload.mode == "text":
        form = "text"
    elif upload.mode == "subtitles" and transcript is not None:
        form, transcript = transcript.format, None
    limits = Limits(
        max_picture_pixels=LIMITS.max_picture_pixels,
        max_video_pixels=LIMITS.max_video_pixels,
        stall_timeout_s=LIMITS.stall_timeout_s,
        max_media_s=LIMITS.max_media_s,
    )
    count = 0
    with open_media(
        source,
        descriptor,
        sampling=upload.sampling,
        transcript=transcript,
        limits=limits,
        first_index=upload.first_index,
        modalities=upload.modalities,
        form=form,
    ) as reader:
        for segment in reader.segments():
            check_segment(segment, upload.first_index, descriptor)
            if count < DECODED_AGAIN:
                reader.decode_segment(segment)
            if isinstance(segment.video, Clip):
                shared[8] = _DECODING
                with contextlib.suppress(ValueError):  # a clip that the model refuses
                    decode_clip(segment.video, descriptor.frames)
                shared[8] = _READING
            count += 1
            if count == MOST_SEGMENTS:
                break
    return count


if __name__ == "__main__":
    main(sys.argv[1:])
