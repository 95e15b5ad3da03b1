"""The space that a server embeds into, asked over the transport and kept."""

from __future__ import annotations

import re
from collections.abc import Callable

from resonance.clients.errors import InvalidFieldError, ServerFaultError, SpaceChangedError
from resonance.clients.transport import Transport
from resonance.space.descriptor import Descriptor
from resonance.space.errors import DescriptorError, SpaceMismatchError

MODEL = "space_descriptor"
_FINGERPRINT = re.compile("[0-9a-f]{64}")


def check_fingerprint(expected: str | None, field: str = "expected_fingerprint") -> None:
    """Refuse what no space has, such as the digits that messages show; `field` for the error.

    Raises:
        InvalidFieldError: not 64 hexadecimal digits.
    """
    if expected is not None and not _FINGERPRINT.fullmatch(expected):
        raise InvalidFieldError(
            field,
            f"'{expected[:80]}'",
            "all 64 lower-case hexadecimal digits, as in `fingerprint` of a result or of the server's space",
        )


class ServedSpace:
    """Asks the model `space_descriptor`.

    Args:
        expected_fingerprint: refuse a server of another space.
        timeout_s: deadline of a request.
        on_change: called with the space when it is first known, and whenever it is another.

    Raises:
        InvalidFieldError: a fingerprint that is none.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        expected_fingerprint: str | None = None,
        timeout_s: float = 30.0,
        on_change: Callable[[Descriptor], None] = lambda space: None,
    ) -> None:
        check_fingerprint(expected_fingerprint)
        self._transport, self._timeout_s = transport, timeout_s
        self._expected = expected_fingerprint
        self._on_change = on_change
        self._known: Descriptor | None = None
        self._text: bytes | None = None

    @property
    def last_known(self) -> Descriptor | None:
        """The space as it was last asked for, without asking."""
        return self._known

    async def known(self) -> Descriptor:
        """The space as it was last asked for; asked now if it never was. Errors: see `ask`."""
        return self._known if self._known is not None else await self.ask()

    async def ask(self) -> Descriptor:
        """The space now.

        Raises:
            SpaceMismatchError: it is not the expected one.
            ServerError: no answer, or not a descriptor.
        """
        answer = await self._transport.infer(MODEL, {}, ("SPACE",), timeout_s=self._timeout_s)
        text = answer["SPACE"][0]
        if self._known is not None and text == self._text:
            return self._known  # asked after each title, and its axes are thousands of numbers to check
        try:
            descriptor = Descriptor.from_json(text.decode(), where="the server's space.json")
        except DescriptorError as malformed:
            raise ServerFaultError(str(malformed)) from malformed
        if self._expected is not None and descriptor.fingerprint != self._expected:
            raise SpaceMismatchError(self._expected, descriptor.fingerprint, "the server")
        changed = text != self._text
        self._known, self._text = descriptor, text
        if changed:
            self._on_change(descriptor)
        return descriptor

    async def require_same(self, descriptor: Descriptor, media: str) -> None:
        """Ask again: vectors made while the space changed would be mixed.

        Raises:
            SpaceChangedError: the server embeds into another space than `descriptor` by now.
        """
        now = await self.ask()
        if now.fingerprint != descriptor.fingerprint:
            self._known = None
            raise SpaceChangedError(
                f"{media}: the server's space changed from {descriptor.fingerprint[:12]} to "
                f"{now.fingerprint[:12]} meanwhile; embed the media again"
            )
