"""How near copies of one title stay: the same clip in another container or codec."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

from resonance.clients.embedder import Embedder

#: Files of one and the same clip, by what is shown.
COPIES = {
    "toy elf": (
        "tabletop_toy_elf.webm",
        "transcode_elf_mjpeg_pcm.avi",
        "transcode_elf_flv1_mp3.flv",
        "transcode_elf_mpeg2_mp2.ts",
        "transcode_elf_wmv2_wma.wmv",
        "transcode_elf_h263_aac.3gp",
        "transcode_elf_hevc_aac.mp4",
        "transcode_elf_av1_opus.mkv",
    ),
    "flower": ("plants_flower_opening.mp4", "plants_flower_opening.webm"),
    "claymation": ("animation_claymation_man_tree.mp4", "animation_claymation_man_tree.ogv"),
    "room robot": ("animation_tos_room_robot_vp9.webm", "animation_tos_room_robot_av1.webm"),
}


@dataclass(frozen=True, slots=True)
class Agreement:
    """Cosine of the titles of two files with the same content."""

    content: str
    first: str
    second: str
    cosine: float


def measure_agreement(server: str, media: Path) -> list[Agreement]:
    """Each copy of `media`/video against the first of its row, then the first ones against each other."""
    return asyncio.run(_measure(server, media / "video"))


async def _measure(server: str, folder: Path) -> list[Agreement]:
    async with Embedder(server) as embedder:
        titles = {
            name: (await embedder.embed(folder / name)).title for names in COPIES.values() for name in names
        }

    def compare(content: str, first: str, second: str) -> Agreement:
        return Agreement(content, first, second, float(titles[first] @ titles[second]))

    copies = [compare(c, first, other) for c, (first, *others) in COPIES.items() for other in others]
    firsts = [names[0] for names in COPIES.values()]
    unrelated = [compare("(unrelated)", a, b) for i, a in enumerate(firsts) for b in firsts[i + 1 :]]
    return copies + unrelated
