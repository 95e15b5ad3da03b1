"""Animations made for tests: frame i shows the number i."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from PIL import Image

from tests.clients.media.synthetic import numbered_picture

FORMATS = ("GIF", "PNG", "WEBP", "AVIF")


def animation(form: str, durations_ms: Sequence[int], **options: Any) -> bytes:
    """One of `FORMATS`, whose frame i is shown for `durations_ms[i]`."""
    frames = [Image.fromarray(numbered_picture(number, 64, 48)) for number in range(len(durations_ms))]
    out = io.BytesIO()
    more = {"lossless": True} if form == "WEBP" else {}
    frames[0].save(
        out, form, save_all=True, append_images=frames[1:], duration=list(durations_ms), **more, **options
    )
    return out.getvalue()
