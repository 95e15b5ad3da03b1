"""Errors of the server on this machine; each message is one line that says what to do.

ServingError
├── TritonNotUsableError   no Triton here, or this Python environment does not fit it
├── RepositoryError        the model repository lacks something, or a model was refused
│   └── RepositoryChangedError  a model's files are not those that the server was started with
├── SharedMemoryError      /dev/shm has too little room
├── PortTakenError         another program listens on the port
├── StartError             the server ended or did not become ready
├── ServerDiedError        the server ended by itself after it was ready
└── GatewayConfigError     address, certificates or tokens of the gateway that cannot be used
"""

from __future__ import annotations


class ServingError(Exception):
    """Root of every error that `resonance.serving` raises."""


class TritonNotUsableError(ServingError):
    """Triton is missing, or this environment (Python, numpy, libpython) does not fit it."""


class RepositoryError(ServingError):
    """A model's files are missing, or Triton or a probe refused a model."""


class RepositoryChangedError(RepositoryError):
    """A model has, or may have been loaded from, other files than the server was started with."""


class SharedMemoryError(ServingError):
    """The room in /dev/shm does not suffice for the models' processes."""


class PortTakenError(ServingError):
    """A port that was asked for is in use, or was asked for twice.

    Args:
        flag: what gives another one; by default called by `purpose`.

    Attributes:
        port: its number.
    """

    def __init__(
        self, purpose: str, host: str, port: int, *, given_for: str | None = None, flag: str | None = None
    ) -> None:
        self.port = port
        took = f"the {given_for} port, too; " if given_for else "taken by another program; stop it or "
        super().__init__(
            f"{purpose} port {port} on {host} is {took}"
            f"give another with {flag or f'--{purpose}-port'} (0 picks a free one)"
        )


class StartError(ServingError):
    """The server ended before it was ready, or was not ready in time.

    Attributes:
        log_tail: the last lines of its log.
    """

    def __init__(self, message: str, log_tail: str = "") -> None:
        self.log_tail = log_tail
        super().__init__(message)


class ServerDiedError(StartError):
    """The server was ready once and then ended by itself."""


class GatewayConfigError(ServingError):
    """An address, certificate, key or token file that the gateway cannot start with."""
