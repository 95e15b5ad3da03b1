"""What libraries look up in files on their own accord: done before a reader is confined, or not at all.

Each of these ended a strict reader when it was fuzzed; see docs/fuzzing.md.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from resonance.clients.errors import NotMediaError
from resonance.serving.gateway.reading import confine
from resonance.space.descriptor import Descriptor

from .reading_kit import make_process, read_to_end, sending

pytestmark = pytest.mark.skipif(not confine.can_filter(), reason="libseccomp is not installed")

#: A TIFF whose table of tags is missing: Pillow warns, and a warning shows the line that gave it.
TIFF_WITHOUT_TAGS = b"II*\x00\x08\x00\x00\x00"
#: Memory that a thread gives back: the C library then reads, once, /proc/sys/vm/overcommit_memory.
GIVE_BACK = """
def work():
    for block in [libc.malloc(65536) for _ in range(200)]:
        libc.free(block)
thread = threading.Thread(target=work)
thread.start()
thread.join()
"""
WARN = f"""
try:
    Image.open(io.BytesIO({TIFF_WITHOUT_TAGS}), formats=("TIFF",))
except OSError:
    pass
"""
#: What PyAV does with an exception that it drops.
PRINT = """
try:
    json.loads("{")
except ValueError:
    traceback.print_exc()
"""
#: A sealed process that has prepared itself as readers do, or has not.
PROGRAM = """
import ctypes, io, json, os, threading, traceback
from PIL import Image
from resonance.serving.gateway.reading import confine, zygote
Image.init()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.free.argtypes = [ctypes.c_void_p]
{prepare}
confine.build_filter(strict=True)()
{work}
os._exit(40)
"""


async def test_a_picture_that_its_reader_warns_of(model_repository: Path, tmp_path: Path) -> None:
    descriptor = Descriptor.load(model_repository / "space_descriptor" / "1" / "space.json")
    process = make_process(descriptor, tmp_path)
    async with sending(process, TIFF_WITHOUT_TAGS):
        with pytest.raises(NotMediaError):
            await read_to_end(process)


@pytest.mark.parametrize("work", [GIVE_BACK, WARN, PRINT], ids=["memory", "warning", "traceback"])
@pytest.mark.parametrize(
    ("prepare", "ends"), [("zygote.import_late()", 40), ("", -signal.SIGSYS)], ids=["prepared", "not"]
)
def test_what_would_look_into_a_file_does_not_once_prepared(prepare: str, ends: int, work: str) -> None:
    program = PROGRAM.format(prepare=prepare, work=work)
    ended = subprocess.run([sys.executable, "-c", program], check=False, timeout=60)
    assert ended.returncode == ends
