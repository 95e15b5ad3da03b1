"""The card shown while a title that is sound alone is heard."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from resonance.clients.media.types import ByteArray

_BACKGROUND, _INK = (24, 26, 32), (225, 228, 235)
#: Of the card's height, the letters; of its width, what a line may fill. Less where the name is long.
_LETTERS, _LINE = 0.07, 0.85
_SMALLEST_PX = 8
_MOST_CHARACTERS = 60


def title_card(name: str, width: int, height: int) -> ByteArray:
    """A plain card with a name on one line, uint8 RGB [height, width, 3].

    Pillow's own font has Latin letters; others are shown as boxes.
    """
    name = " ".join(name.split())
    if len(name) > _MOST_CHARACTERS:
        name = f"{name[: _MOST_CHARACTERS - 1]}…"
    card = Image.new("RGB", (width, height), _BACKGROUND)
    draw = ImageDraw.Draw(card)
    size_px = max(height * _LETTERS, _SMALLEST_PX)
    long_px = draw.textlength(name, font=ImageFont.load_default(size_px))
    if long_px > width * _LINE:
        size_px = max(size_px * width * _LINE / long_px, _SMALLEST_PX)
    draw.text((width / 2, height / 2), name, _INK, font=ImageFont.load_default(size_px), anchor="mm")
    return np.asarray(card, np.uint8)
