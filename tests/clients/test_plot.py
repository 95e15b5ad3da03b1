"""The picture of the arcs: written for any titles, and it shows what there is."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from resonance.clients.errors import UsageError
from resonance.clients.plot import (
    ARC_COLOURS,
    AXIS_COLOUR,
    HIGH_COLOUR,
    LOW_COLOUR,
    MOST_MARKED,
    PICTURE_FORMATS,
    TITLE_COLOURS,
    plot_arcs,
)
from resonance.clients.results import AxisValue, MediaEmbedding, SpaceRef, Timing
from tests.small_disk import disk_of

Points = list[tuple[float, float]]


def title(media: str, arcs: dict[str, Points], duration_s: float | None = None) -> MediaEmbedding:
    return MediaEmbedding(
        media=media,
        space=SpaceRef("test", "f" * 64, trained=False),
        duration_s=duration_s,
        modalities=("visual",),
        title=np.zeros(1788, np.float32),
        present=(True, False, False),
        segments=(),
        arcs=arcs,
        timing=Timing(0, 0, 0, 0, 0),
    )


def wave(points: int, value: float = 0.7) -> Points:
    return [(4.0 + 8 * i, value) for i in range(points)]


def colours(path: Path) -> set[str]:
    pixels = np.asarray(Image.open(path).convert("RGB")).reshape(-1, 3)
    return {"#{:02x}{:02x}{:02x}".format(*colour) for colour in np.unique(pixels, axis=0)}


def columns_of(path: Path, colour: str) -> np.ndarray:
    pixels = np.asarray(Image.open(path).convert("RGB"))
    wanted = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return np.flatnonzero((pixels == wanted).all(axis=2).any(axis=0))


def test_each_arc_of_one_title_has_its_row_and_colour(tmp_path: Path) -> None:
    path = tmp_path / "arcs.png"
    plot_arcs([title("a/film.mp4", dict.fromkeys(ARC_COLOURS, wave(20)), 160.0)], path)
    assert set(ARC_COLOURS.values()) <= colours(path)
    assert Image.open(path).size[0] > Image.open(path).size[1] > 500


def with_axes(media: str, value: float) -> MediaEmbedding:
    arcs = {**dict.fromkeys(ARC_COLOURS, wave(20)), "tension": wave(20, value)}
    return replace(title(media, arcs, 160.0), axes={"tension": AxisValue(value, "serene", "frantic")})


@pytest.mark.parametrize(("value", "filled"), [(0.9, HIGH_COLOUR), (0.1, LOW_COLOUR)])
def test_an_axis_is_filled_from_its_middle_in_the_colour_of_its_side(
    value: float, filled: str, tmp_path: Path
) -> None:
    path = tmp_path / "arcs.png"
    plot_arcs([with_axes("film.mp4", value)], path)
    assert AXIS_COLOUR in colours(path)
    other = LOW_COLOUR if filled == HIGH_COLOUR else HIGH_COLOUR
    assert pale_pixels(path, filled) > 10_000 > 100 > pale_pixels(path, other)


def pale_pixels(path: Path, colour: str) -> int:
    """How many pixels show `colour` at an opacity of 0.3 over white, to the rounding of a level or two."""
    wanted = 255 + 0.3 * (np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) - 255)
    pixels = np.asarray(Image.open(path).convert("RGB"), np.float64)
    return int((np.abs(pixels - wanted) <= 2).all(axis=2).sum())


def test_nine_rows_fit_on_a_screen_and_titles_with_and_without_axes_share_them(tmp_path: Path) -> None:
    names = ("tension", "mood", "pace", "scale", "warmth", "gravity")
    one = title("film.mp4", {n: wave(20) for n in (*ARC_COLOURS, *names)}, 160.0)
    one = replace(one, axes={name: AxisValue(0.5, "a" * 200, "costs $5 or $\\frac") for name in names})
    plot_arcs([one, title("other.mp4", {"pacing": wave(3)})], tmp_path / "arcs.png")
    width, height = Image.open(tmp_path / "arcs.png").size
    assert height < 1.2 * width
    assert set(TITLE_COLOURS[:2]) <= colours(tmp_path / "arcs.png")


def test_a_gap_is_not_bridged(tmp_path: Path) -> None:
    whole, torn = tmp_path / "whole.png", tmp_path / "torn.png"
    points = wave(20)
    plot_arcs([title("film.mp4", {"pacing": points}, 160.0)], whole)
    plot_arcs([title("film.mp4", {"pacing": points[:6] + points[14:]}, 160.0)], torn)
    colour = ARC_COLOURS["pacing"]
    assert np.diff(columns_of(whole, colour)).max() == 1
    assert np.diff(columns_of(torn, colour)).max() > 300


def test_many_titles_have_colours_and_the_rest_is_grey(tmp_path: Path) -> None:
    path = tmp_path / "arcs.png"
    results = [title(f"film {i}.mp4", {"pacing": wave(20, i / 20)}, 160.0) for i in range(20)]
    plot_arcs(results, path)
    assert {*TITLE_COLOURS, "#c8c8c8"} <= colours(path)


@pytest.mark.parametrize(
    "results",
    [
        [title("picture.jpg", {"pacing": [], "energy": [], "brightness": [(0.0, 0.4)]})],
        [title("text.txt", {"pacing": [], "energy": [], "brightness": []})],
        [title("costs $5 or $\\frac.mp4", {"pacing": wave(3)}), title("_hidden.mp4", {"pacing": wave(2)})],
        [title("犬の映画 " * 30 + ".mp4", {"pacing": wave(3)}), title("b.mp4", {"energy": wave(3)})],
        [title("day.mp4", {"pacing": wave(MOST_MARKED * 100)}, 86_400.0)],
        [title("clip.mp4", {"pacing": [(0.2, 1.0)]}, 0.4)],
    ],
    ids=["picture", "text", "odd-names", "other-script", "a-day", "a-blink"],
)
@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_any_titles_are_drawn_without_a_warning(
    results: list[MediaEmbedding], ending: str, tmp_path: Path
) -> None:
    path = tmp_path / f"arcs.{ending}"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plot_arcs(results, path)
    assert path.stat().st_size > 1000


@pytest.mark.parametrize("form", PICTURE_FORMATS)
def test_each_format_that_is_offered_is_written_and_what_was_there_stays_where_a_disk_is_full(
    form: str, tmp_path: Path
) -> None:
    path = tmp_path / f"arcs.{form.upper()}"
    plot_arcs([title("film.mp4", {"pacing": wave(3)})], path)
    before = path.read_bytes()
    assert len(before) > 1000
    with disk_of(512), pytest.raises(OSError, match="File too large"):
        plot_arcs([title("film.mp4", {"pacing": wave(3)})], path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_what_cannot_be_drawn_is_refused(tmp_path: Path) -> None:
    result = title("film.mp4", {"pacing": wave(3)})
    with pytest.raises(UsageError, match=r"arcs\.xyz.*png"):
        plot_arcs([result], tmp_path / "arcs.xyz")
    with pytest.raises(UsageError, match="folder"):
        plot_arcs([result], tmp_path / "gone" / "arcs.png")
    with pytest.raises(UsageError, match="at least one"):
        plot_arcs([], tmp_path / "arcs.png")
