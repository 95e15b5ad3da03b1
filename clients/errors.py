"""Every error the client raises, as a tree.

ResonanceError
├── MediaError            the input's own fault; retrying the same bytes will fail the same way
│   ├── NotMediaError     no known container or picture, or one that is not allowed (playlists, ...)
│   ├── CorruptMediaError a known container that yields nothing usable
│   ├── NoModalityError   it opens, but holds no picture, no sound above silence and no words
│   ├── MediaLimitError   a cap was exceeded: pixels, bytes spooled
│   ├── MediaStalledError no progress within the time allowed
│   └── TranscriptError   the subtitle file cannot be read
├── ServerError           the server's or the network's fault; the same media may succeed later
│   ├── ServerUnavailableError
│   ├── DeadlineExceededError
│   ├── OverloadedError
│   ├── ServerFaultError  the server failed while it worked on the request
│   ├── SpaceChangedError the server's space changed while a title was embedded
│   ├── SupersededError   a later call with the same idempotency key took this one's place
│   └── NotResumableError the connection broke, and the source cannot be read a second time
├── RequestRejectedError  the server refused the request itself (a model's input is wrong)
│   └── AuthenticationError  no token or certificate that the server accepts
└── UsageError            the caller's arguments contradict each other
    ├── InvalidFieldError a field of a message or a value of an argument is not allowed
    └── CredentialsError  a token or certificate cannot be read, or would travel in the open
"""

from __future__ import annotations

from collections.abc import Callable


class ResonanceError(Exception):
    """Root of every error that the client raises. They can be pickled, with what they know."""

    def __reduce__(self) -> tuple[Callable[..., ResonanceError], tuple[object, ...]]:
        return _pickled, (type(self), self.args, self.__dict__)


def _pickled(
    kind: type[ResonanceError], args: tuple[object, ...], fields: dict[str, object]
) -> ResonanceError:
    """Without `__init__`, which takes other arguments than the text that it makes of them."""
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(fields)
    return error


class MediaError(ResonanceError):
    """The input cannot be embedded.

    Attributes:
        media: which input (a path or the name given to the bytes).
        came: what was found there.
        expected: what would have worked, or what to do.
    """

    def __init__(self, media: str, came: str, expected: str) -> None:
        self.media = media
        self.came = came
        self.expected = expected
        super().__init__(f"{media}: {came}; expected {expected}")


class NotMediaError(MediaError):
    """Not a container, picture or subtitle file that is read here."""


class CorruptMediaError(MediaError):
    """A known container that yields nothing usable."""


class NoModalityError(MediaError):
    """No picture, no sound above the silence threshold, no words."""

    @classmethod
    def nothing(cls, media: str, silence_dbfs: float) -> NoModalityError:
        """None of them was found."""
        came = f"no picture, no sound above {silence_dbfs:g} dBFS in mono and no words"
        return cls(media, came, "at least one of them")


class MediaLimitError(MediaError):
    """A stated cap was exceeded."""


class MediaStalledError(MediaError):
    """Reading or decoding made no progress within the time allowed."""


class TranscriptError(MediaError):
    """A subtitle file cannot be read, or belongs to nothing."""

    @classmethod
    def beside(cls, media: str, kind: str) -> TranscriptError:
        """Subtitles were given for media of `kind`, which has none."""
        return cls(media, f"subtitles for {kind}", "them for a video or sound alone")


class ServerError(ResonanceError):
    """The server or the network failed; the same media may succeed later.

    Attributes:
        retry_after_s: how long the server asks to wait before another try; None where it does not say.
    """

    def __init__(self, message: str = "", *, retry_after_s: float | None = None) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(message)


class ServerUnavailableError(ServerError):
    """No server answers at the address, or it is shutting down."""


class DeadlineExceededError(ServerError):
    """The server did not answer within the request's deadline."""


class OverloadedError(ServerError):
    """The server refused for lack of capacity; retry later."""


class ServerFaultError(ServerError):
    """The server failed while it worked on the request."""


class SpaceChangedError(ServerError):
    """The server's space changed while a title was embedded; its segments would be mixed."""


class SupersededError(ServerError):
    """A later call with the same idempotency key took this call's place; its answers go there."""


class NotResumableError(ServerError):
    """The connection broke, and the source cannot be read again from its start to go on."""


class RequestRejectedError(ResonanceError):
    """The server refused the request itself: model, input, what came and what was expected."""


class AuthenticationError(RequestRejectedError):
    """The call carried no token or certificate that the server accepts."""


class UsageError(ResonanceError):
    """The caller's arguments contradict each other or name something unknown, or a call comes where none can
    be made: after `close`, on another event loop, in a forked process."""


class InvalidFieldError(UsageError):
    """A field of a message, or an argument, has a value that is not allowed.

    Attributes:
        field: which one, as a path such as ``segment.vector``.
        came: what was there.
        expected: what is allowed.
    """

    def __init__(self, field: str, came: str, expected: str) -> None:
        self.field = field
        self.came = came
        self.expected = expected
        super().__init__(f"{field}: {came}; expected {expected}")


class CredentialsError(UsageError):
    """A token or certificate cannot be read, or a token would travel in the open."""


def described(error: BaseException, within: str = "") -> str:
    """Kind and text of any error on one line, for people.

    Args:
        within: what the line begins with already, such as a file: an error that begins with it as well does
            not say it again.
    """
    return " ".join(f"{type(error).__name__}: {str(error).removeprefix(f'{within}: ')}".split())
