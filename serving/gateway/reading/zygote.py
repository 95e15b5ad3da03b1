"""The process that all reading processes are forked from, with everything imported that reading needs.

It answers, one after the other, on the socket that it is given as its argument:

    spawn, with two descriptors (the connection, the spool) -> the process's number, or why there is none
    reap NUMBER -> its exit status and largest memory, once it has ended

A process that has ended is kept until it is reaped, so that its number belongs to no other. When the gateway
is gone, however it went, the socket ends, and everything here with it.
"""

from __future__ import annotations

import codecs
import contextlib
import ctypes
import gc
import importlib
import json
import linecache
import os
import pickle
import pkgutil
import signal
import socket
import sys
import threading
import traceback
import warnings
from collections.abc import Callable

import av
import numpy as np
from PIL import Image, features

from resonance.clients.media.encodings import look_up_all
from resonance.serving.gateway.reading import confine, wire
from resonance.serving.gateway.reading.child import Child, Job
from resonance.serving.launch import die_with_parent

MAX_REQUEST_BYTES = 1024
#: Each of a process's threads; the default of 8 MiB would count as memory.
STACK_BYTES = 2 * 1024 * 1024
#: Modules that are imported on first use only, which comes too late in a process that may open no file.
LATE = (
    "av.filter", "av.subtitles.codeccontext", "av.subtitles.stream", "numpy.linalg", "PIL.ImageOps",
    "PIL.ImageCms", "PIL.ExifTags",
    "PIL.JpegPresets", "PIL.MpoImagePlugin", "PIL.TiffTags", "PIL.ImageSequence", "PIL.ImageChops",
    "PIL.ImagePalette", "PIL.ImageColor", "PIL.ImageMode", "xml.etree.ElementTree", "linecache", "stringprep",
    "unicodedata", "decimal", "fractions", "colorsys",
)  # fmt: skip


def import_late() -> None:
    """Everything that reading may import on its way."""
    package = "resonance.clients.media"
    for module in pkgutil.iter_modules(importlib.import_module(package).__path__, f"{package}."):
        importlib.import_module(module.name)
    for name in LATE:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    for name in ("ascii", "idna"):
        codecs.lookup(name)
    look_up_all()
    Image.init()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what Pillow was built with and no reader needs, as Tk
        for name in features.get_supported_modules():
            features.check(name)
    show_no_source()
    open_converters()
    give_memory_back()
    rehearse()


def show_no_source() -> None:
    """Warnings and tracebacks show lines of source, and read files for it: Pillow warns of broken metadata,
    PyAV prints what it drops."""
    warnings.simplefilter("ignore")
    linecache.updatecache = lambda *given: []
    linecache.checkcache = lambda *given: None
    sys.unraisablehook = lambda failed: None


def open_converters() -> None:
    """Load the C library's character sets that broadcast streams name their programmes in.

    They are libraries of their own; those that were never closed stay loaded.
    """
    convert = ctypes.CDLL(None).iconv_open
    convert.restype = ctypes.c_void_p
    names = ["ISO6937", "UCS-2BE", "KSC_5601", "GB2312", "UTF-8", "UTF-16BE"]
    for name in names + [f"ISO-8859-{number}" for number in range(1, 17)]:
        convert(b"UTF-8", name.encode())


def give_memory_back() -> None:
    """Let the C library read how the kernel counts memory; it does when a thread first gives some back."""
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    libc.free.argtypes = [ctypes.c_void_p]
    size, count = 64 * 1024, 64  # each too small for a mapping of its own, together more than is kept

    def work() -> None:
        for block in [libc.malloc(size) for _ in range(count)]:
            libc.free(block)

    thread = threading.Thread(target=work)  # the first thread's memory is not counted so
    thread.start()
    thread.join()


def rehearse() -> None:
    """Run through the libraries once: what they set up lazily is set up, and shared by all processes."""
    frame = av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), format="rgb24")
    frame.reformat(width=8, height=8, format="yuv420p")
    np.linalg.norm(np.zeros(2))
    with contextlib.suppress(Exception):
        "".encode("idna")
    traceback.format_exc()


def serve(control: socket.socket) -> None:
    """Answer until the gateway hangs up."""
    install = {strict: confine.build_filter(strict=strict) for strict in (False, True)}
    gc.collect()
    gc.freeze()  # so that looking for garbage copies no page
    control.send(json.dumps({"ready": True, "filtered": confine.can_filter()}).encode())
    while True:
        data, descriptors, _, _ = socket.recv_fds(control, MAX_REQUEST_BYTES, 2)
        if not data:
            return
        request = json.loads(data)
        if request["do"] == "spawn":
            spawned: dict[str, int | str]
            try:
                spawned = {"pid": os.fork()}
            except OSError as error:  # no more processes, or no memory: those there are shall live on
                spawned = {"refused": str(error.strerror)}
            if spawned.get("pid") == 0:
                control.close()
                _become(descriptors, install[request["strict"]])
            for descriptor in descriptors:
                os.close(descriptor)
            control.send(json.dumps(spawned).encode())
        else:
            _, status, usage = os.wait4(request["pid"], 0)
            answer = {"status": os.waitstatus_to_exitcode(status), "memory_bytes": usage.ru_maxrss * 1024}
            control.send(json.dumps(answer).encode())


def _become(descriptors: list[int], install: Callable[[], None] | None) -> None:
    """The forked process's whole life. Does not return."""
    status = 1
    try:
        die_with_parent()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        connection, spool = socket.socket(fileno=descriptors[0]), descriptors[1]
        job = wire.receive(connection)
        if job is not None:
            given: Job = pickle.loads(job.parts[0])  # from the gateway, over a socket that only it holds
            threading.stack_size(STACK_BYTES)
            # printing what a thread failed on would look up its source; half a reader is none
            threading.excepthook = lambda failed: os._exit(1)
            confine.limit_resources(given.limits.memory_bytes)
            if install is not None:
                install()
            Child(given, connection, spool).run()
        status = 0
    except OSError:
        status = 0  # the gateway hung up
    finally:
        os._exit(status)


def main() -> None:
    """Entry point: the control socket's number is the argument."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the gateway's to answer
    import_late()
    serve(socket.socket(fileno=int(sys.argv[1])))


if __name__ == "__main__":
    main()
