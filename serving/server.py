"""Starts a Triton Inference Server, keeps it well, and ends it without a trace."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Self

from tritonclient.grpc import InferenceServerClient
from tritonclient.utils import InferenceServerException

from resonance.serving import admin, binary, environments, process, shm
from resonance.serving.command import ServerSettings, Target, triton_command
from resonance.serving.decoder import DECODER_VARIABLE, Decoder
from resonance.serving.errors import (
    PortTakenError,
    RepositoryChangedError,
    RepositoryError,
    ServerDiedError,
    ServingError,
    StartError,
)
from resonance.serving.gpu import plan_flags
from resonance.serving.loaded_files import LoadedFiles
from resonance.serving.ports import choose_ports, listens
from resonance.serving.readiness import one_line, probe_all, read_space
from resonance.serving.reload import reload_model
from resonance.serving.repository import check_files, read_repository
from resonance.serving.triton_log import LOCK_FAILURE, TritonLog
from resonance.serving.warm import warm_up
from resonance.space.descriptor import Descriptor

_ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 (compared with, not bound)
#: For answers of a stub that was replaced, and for its end: a model whose stub is killed while Triton unloads
#: it stays, and keeps the next stop waiting.
_STUB_GRACE_S = 10.0
_MOST_TOLD = 500  # characters: copying a folder names every file that could not be
_OPEN_S = 10.0  # Triton opens its HTTP and metrics ports right after that of gRPC
_EXIT_MARGIN_S = 5.0  # Triton counts its exit timeout in whole seconds, and unloads models after it
_log = logging.getLogger(__name__)


class TritonServer:
    """A Triton server of this process: a context manager, or `start` and `stop`.

    Attributes:
        space: the descriptor of the served space, once started; None if the repository has none.
        models: names of the models that have answered.
    """

    def __init__(self, settings: ServerSettings) -> None:
        self.settings = settings
        self.space: Descriptor | None = None
        self.models: list[str] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._ports: dict[str, int] = {}
        self._folder = Path()
        self._prefix = ""
        self._claims: list[shm.Claim] = []
        self._stubs: Counter[str] = Counter()
        self._files = LoadedFiles([])
        self._triton_log = TritonLog(self.log_path)
        self._key = admin.new_key()
        self._lifecycle = threading.RLock()  # one start or stop at a time
        self._given_up = threading.Event()
        self._starting = False

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def grpc_address(self) -> str:
        """``host:port`` for gRPC clients."""
        return self._address("grpc")

    @property
    def client_address(self) -> str:
        """``host:port`` for gRPC clients on this machine, also where it listens on every interface."""
        host = _ANY_ADDRESS.get(self.settings.host, self.settings.host)
        return self._address("grpc", host)

    @property
    def http_address(self) -> str:
        """``host:port`` for HTTP clients."""
        return self._address("http")

    @property
    def metrics_address(self) -> str:
        """``host:port`` where ``/metrics`` answers."""
        return self._address("metrics", self.settings.metrics_host)

    @property
    def pid(self) -> int:
        """Process id of `tritonserver`, which is also its process group."""
        if self._process is None:
            raise StartError("the server is not started")
        return self._process.pid

    def _client(self) -> InferenceServerClient:
        return InferenceServerClient(self.client_address, channel_args=list(admin.CHANNEL))

    @property
    def key(self) -> str:
        """What the closed endpoints want to see (`admin`): for processes of ours alone."""
        return self._key

    @property
    def log_path(self) -> Path:
        """Triton's log."""
        return self.settings.log_file or self._folder / "triton.log"

    def start(self) -> None:
        """Start the server and return when every model has answered.

        Raises:
            TritonNotUsableError: no Triton, or this environment does not fit it.
            RepositoryError: files are missing, or a model was refused or failed its probe.
            RepositoryChangedError: files changed while they were being loaded, twice: models may be of two
                spaces.
            SharedMemoryError: too little room in /dev/shm.
            PortTakenError: a given port is in use.
            StartError: the server ended early or was not ready in time, and `log_tail` has the log's end; or
                this machine has no room for it.
        """
        with self._lifecycle:
            if self._process is not None:
                raise StartError("the server is already started")
            self._starting = True
            try:
                self._launch_patiently()
            except OSError as error:  # a full disk, or one that may not be written: there may be room later
                raise StartError(
                    f"no room here to start Triton: {one_line(str(error))[:_MOST_TOLD]}; expected some, and "
                    "rights where temporary files are kept (TMPDIR), and for one more process"
                ) from error
            finally:
                self._starting = False

    def give_up(self) -> None:
        """Make a `start` that runs in another thread raise StartError now, and every later one at once.

        Does nothing to a server that is started: `stop` ends it.
        """
        self._given_up.set()
        running = self._process
        if self._starting and running is not None:  # it may wait for an answer: there will be none
            with contextlib.suppress(ProcessLookupError):
                os.killpg(running.pid, signal.SIGKILL)

    def _launch_patiently(self) -> None:
        try:
            self._launch()
        except StartError as failed:
            if LOCK_FAILURE not in failed.log_tail:
                raise
            _log.warning(
                "Triton's processes waited too long for each other on a busy machine; starting again"
            )
            self._launch()
        except RepositoryChangedError as changed:  # an export ended meanwhile
            _log.warning("%s; starting again", changed)
            self._launch()

    def _launch(self) -> None:
        """One try of `start`; leaves nothing behind when it fails."""
        if self._given_up.is_set():
            raise StartError("told to stop while starting")
        settings = self.settings
        decoder = settings.decoder or (Decoder.DALI if settings.target == "gpu" else Decoder.PYAV)
        models = read_repository(settings.model_repository, settings.target, decoder)
        triton = binary.find_triton()
        binary.check_numpy()
        process.end_stale_stubs()
        places = (shm.SHM, Path(tempfile.gettempdir()))
        for place in places:
            shm.remove_stale_regions(place)
        self._prefix = shm.own_prefix()
        try:
            for place in places:
                self._claims.append(shm.Claim(self._prefix, place))
            self._folder = Path(tempfile.mkdtemp(prefix=self._prefix))
            needed = {m.config.backend for m in models if not m.is_ensemble}
            backends = binary.lay_out_backends(triton, self._folder / "site", needed)
            check_files(models, {p.name for p in backends.iterdir()})
            self._files = LoadedFiles(models)
            flags = [*plan_flags(models), *(f"--load-model={m.name}" for m in models)]
            shm.check_room(models)
            # A second start takes the ports of the first: callers know them.
            wanted = self._ports or {p: getattr(settings, f"{p}_port") for p in ("grpc", "http", "metrics")}
            self._ports = choose_ports(settings.host, wanted, {"metrics": settings.metrics_host})
            command = triton_command(
                settings, triton, backends=backends, ports=self._ports, prefix=self._prefix, more=flags
            )
            # what its processes leave there when they are killed goes with the folder
            temporary = self._folder / "tmp"
            temporary.mkdir()
            environment = binary.server_environment(triton) | {
                DECODER_VARIABLE: decoder,
                "TMPDIR": str(temporary),
            }
            self._triton_log = TritonLog(self.log_path)
            watch = environments.Watch(self._folder, binary.count_in_python(triton, needed))
            self._process = process.start_process(command, environment, self.log_path, secret=self._key)
            self._become_ready([m.name for m in models])
            watch.note()
        except BaseException:
            self.stop(drain_s=0)
            raise

    def ended(self) -> str | None:
        """How the process ended that `start` started; None while it runs."""
        code = None if self._process is None else self._process.poll()
        return None if code is None else process.ending(code)

    def dead_models(self) -> list[str]:
        """Models that have fewer stub processes than they started with, and so fail requests for good."""
        return sorted(self._stubs - Counter(process.stubs(self.pid).values()))

    def reload(self, name: str, *, hung: bool = False) -> None:
        """Load model `name` anew and end the stub processes that it had, while other models go on answering.

        Healthy ones may answer for up to `_STUB_GRACE_S` what they already have. Where one of them is `hung`,
        all are killed first: what it holds fails within a second and can be tried again, and should it come
        to life after Triton gave it up, Triton would end with signal 6.

        Raises:
            RepositoryChangedError: its files changed since the start: what it would be now is another space,
                or half of one. The server as a whole has to be started again.
            RepositoryError: it could not be loaded, or fails its probe.
        """
        old = {pid: model for pid, model in process.stubs(self.pid).items() if model == name}
        if hung:
            process.kill_stubs(old, self.pid)
        self._check_unchanged(name)
        try:
            with self._client() as client:
                reload_model(client, name, self.settings.probe_timeout_s, admin.grpc_headers(self._key))
        except InferenceServerException as error:
            raise RepositoryError(f"model {name}: {one_line(error.message())}") from error
        self._check_unchanged(name)  # while it was being loaded
        deadline = time.monotonic() + _STUB_GRACE_S
        while old.keys() & process.stubs(self.pid).keys() and time.monotonic() < deadline:
            time.sleep(0.05)
        process.kill_stubs(old, self.pid)
        # Triton keeps the region of a stub that died with a request under way, for as long as it runs. One
        # that was killed a moment ago may still be seen
        shm.remove_regions(self._prefix, keep=process.stub_regions(self.pid, but_of=old))

    def _check_unchanged(self, name: str) -> None:
        if changed := self._files.changed(name):
            raise RepositoryChangedError(
                f"model {name}: {changed[0]} changed since the server was started; expected what it was: "
                "start the server again, so that all models are of one space"
            )

    def check(self) -> list[str]:
        """Look after the server once, without a `Supervisor`. Names of the models that were repaired.

        A stub process that died is never started again by Triton, which calls itself ready all the
        same; its model is loaded anew here, while the other models go on answering.

        Raises:
            ServerDiedError: the server has ended by itself.
        """
        if self.ended():
            raise ServerDiedError(f"Triton ended by itself ({self.ended()})", self.log_tail())
        repaired = []
        for name in self.dead_models():
            _log.warning("model %s: its process died; loading it again", name)
            try:
                self.reload(name)
            except RepositoryError as error:
                _log.error("model %s: could not be loaded again: %s", name, one_line(str(error)))
                continue
            repaired.append(name)
        return repaired

    def stop(self, drain_s: float | None = None) -> None:
        """End the server: no new requests, those in flight are answered within `drain_s`, nothing is left.

        Does nothing when it is not started.
        """
        drain_s = self.settings.drain_s if drain_s is None else drain_s
        with self._lifecycle:
            if self._process is not None:
                patience_s = drain_s + _EXIT_MARGIN_S if drain_s > 0 else 0
                watch = self._triton_log.drain_watch()
                drained = process.end(self._process, drain_s=patience_s, drained=watch)
                if drain_s > 0 and not drained:
                    _log.warning("Triton was not done after %g s and was killed", patience_s)
                self._process = None
            if self._prefix:
                shm.remove_regions(self._prefix)
                self._prefix = ""
            if self._folder != Path():
                environments.remove(self._folder)
                shutil.rmtree(self._folder, ignore_errors=True)
                self._folder = Path()
            while self._claims:
                self._claims.pop().let_go()

    def log_tail(self) -> str:
        """The last lines of Triton's log, of this start alone."""
        return self._triton_log.tail()

    def _become_ready(self, wanted: list[str]) -> None:
        """Wait for the server's port, which it opens when all models are loaded, then probe those wanted."""
        assert self._process is not None
        settings = self.settings
        deadline = time.monotonic() + settings.start_timeout_s
        host = _ANY_ADDRESS.get(settings.host, settings.host)
        key_readable = True
        while not listens(host, self._ports["grpc"]):
            # it has read its arguments before it says anything
            if key_readable and self._triton_log.has_grown():
                key_readable = not admin.hide(self._process.pid, self._key)
            if self._given_up.is_set():
                raise StartError("told to stop while starting")
            self._check_alive()
            if time.monotonic() > deadline:
                limit = f"{settings.start_timeout_s:g} s"
                raise StartError(f"Triton was not ready within {limit}", self.log_tail())
            time.sleep(0.05)
        if not admin.hide(self._process.pid, self._key):
            _log.info(
                "the key of Triton's administration can be read in its arguments by users of this machine"
            )
        try:
            with self._client() as client:
                headers = admin.grpc_headers(self._key)
                self.models = probe_all(client, wanted, settings.probe_timeout_s, headers)
                self.space = read_space(client, settings.probe_timeout_s)
                warm_up(client, self.models, settings.probe_timeout_s, headers)
        except InferenceServerException as error:
            code = self._process.poll()
            ended = f" and ended ({process.ending(code)})" if code is not None else ""
            reason = one_line(error.message())
            if code is None and admin.REFUSED in reason:  # our key would have been taken
                raise self._taken("grpc") from error
            raise StartError(
                f"Triton stopped answering while starting{ended}: {reason}", self.log_tail()
            ) from error
        for name in wanted:  # an export changes files within less than it takes to load them
            self._check_unchanged(name)
        self._check_ports()
        self._stubs = Counter(process.stubs(self.pid).values())

    def _check_ports(self) -> None:
        """Another server may have opened a port since it was chosen; Triton then ends, after a while."""
        deadline = time.monotonic() + _OPEN_S
        while True:
            self._check_alive()
            open_ports = process.listening_ports(self.pid)
            if open_ports is None:
                return
            missing = [p for p, port in self._ports.items() if port not in open_ports and self._opens(p)]
            if not missing:
                return
            if "grpc" in missing:  # it was open, so the log's last error is of this start
                self._check_taken(self._triton_log.last_error())
            if time.monotonic() > deadline:
                raise self._taken(missing[0])
            time.sleep(0.05)

    def _opens(self, purpose: str) -> bool:
        return purpose != "http" or self.settings.http

    def _check_alive(self) -> None:
        assert self._process is not None
        code = self._process.poll()
        if code is not None:
            reason = self._triton_log.last_error() or process.ending(code)
            self._check_taken(reason)
            raise StartError(f"Triton ended while starting: {reason}", self.log_tail())

    def _check_taken(self, reason: str) -> None:
        """Raise if `reason`, Triton's own words, is that a port is in use."""
        for purpose, port in self._ports.items():
            if re.search(rf":{port}\b.* in use", reason):
                raise self._taken(purpose)

    def _taken(self, purpose: str) -> PortTakenError:
        host = self.settings.metrics_host if purpose == "metrics" else None
        return PortTakenError(purpose, host or self.settings.host, self._ports[purpose])

    def _address(self, purpose: str, host: str | None = None) -> str:
        if not self._ports:
            raise StartError("the server is not started")
        host = host or self.settings.host
        return f"[{host}]:{self._ports[purpose]}" if ":" in host else f"{host}:{self._ports[purpose]}"


__all__ = ["ServerSettings", "ServingError", "Target", "TritonServer"]
