"""The picture of a segment: setting as background, subject as shape, tension as light, pace as cuts and
streaks of what rushes past."""

from __future__ import annotations

import colorsys

import numpy as np

from resonance.training.world.factors import LEVELS, SUBJECT_KINDS, SegmentFactors

#: Shots in 8 s, by pace.
SHOTS = (1, 2, 3, 6, 10)
#: Lanes of streaks across the picture's side, by pace: a still picture has to show it too.
STREAK_LANES = (0, 4, 9, 18, 32)
#: Width of a streak in the picture's side, share of a lane it covers, streaks a side.
STREAK_WIDTH, STREAK_DUTY, STREAK_RATE = 0.014, 0.5, 2.0
#: How far the subject wanders in 8 s, as a share of the picture's side, by pace.
DRIFT = (0.0, 0.01, 0.02, 0.04, 0.06)
LIGHT = (1.0, 0.84, 0.68, 0.52, 0.36)
SEGMENT_S = 8.0
#: A plane of unit waves: summed at random it gives the private clutter of each shot.
CLUTTER_WAVES = 3


def render_frames(
    factors: SegmentFactors, rng: np.random.Generator, *, times_s: np.ndarray, size_px: int
) -> np.ndarray:
    """Frames at `times_s` [T] (0..8 s), uint8 RGB [T, size_px, size_px, 3].

    Private nuisance, drawn anew for each shot: camera, the subject's place, size, angle and colour,
    texture scale and phase, hue within its quarter, direction and places of streaks, clutter, exposure.
    """
    shots = _shot_of(times_s, SHOTS[factors.pace], rng)
    tint = rng.uniform(-0.03, 0.03)
    frames = np.empty((len(times_s), size_px, size_px, 3), np.uint8)
    for shot in np.unique(shots):
        cast = np.random.Generator(np.random.PCG64(int(rng.integers(2**63))))
        here = np.flatnonzero(shots == shot)
        look = _Look(factors, cast, tint)
        for i in here:
            frames[i] = look.frame(float(times_s[i]), size_px)
    return frames


def _shot_of(times_s: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """The shot each time falls into: `count` shots of about equal length."""
    if count == 1:
        return np.zeros(len(times_s), int)
    cuts_s = np.arange(1, count) * SEGMENT_S / count + rng.uniform(-0.25, 0.25, count - 1) * SEGMENT_S / count
    return np.searchsorted(cuts_s, times_s)


class _Look:
    """One shot: everything that stays the same between its frames."""

    def __init__(self, factors: SegmentFactors, rng: np.random.Generator, tint: float) -> None:
        self.f = factors
        hue = (factors.setting % 4) / 4 + 0.06 + tint + rng.uniform(-0.03, 0.03)
        self.near = np.array(colorsys.hsv_to_rgb(hue % 1, 0.75, 0.95))
        self.far = np.array(colorsys.hsv_to_rgb((hue + rng.uniform(-0.04, 0.04)) % 1, 0.55, 0.45))
        self.scale = rng.uniform(0.8, 1.25)
        self.phase = rng.uniform(0, 2 * np.pi, 4)
        self.tilt = rng.uniform(-0.2, 0.2)
        self.clutter = rng.uniform(-1, 1, (CLUTTER_WAVES, 3)) * (9, 9, np.pi)
        self.clutter_gain = rng.uniform(0.0, 0.12)
        self.centre = rng.uniform(0.36, 0.64, 2)
        self.radius = rng.uniform(0.23, 0.33)
        self.angle = rng.uniform(-0.35, 0.35)
        self.colour = np.array(colorsys.hsv_to_rgb(rng.uniform(), rng.uniform(0.0, 0.35), 1.0))
        heading = rng.uniform(0, 2 * np.pi)
        self.heading = np.array([np.cos(heading), np.sin(heading)])
        self.lane_offsets = rng.uniform(0, 1, 4 * max(STREAK_LANES))
        self.exposure = rng.uniform(0.94, 1.06)
        self.vignette = factors.tension / (LEVELS - 1) * 0.5

    def frame(self, time_s: float, size_px: int) -> np.ndarray:
        """uint8 [size_px, size_px, 3]."""
        axis = (np.arange(size_px, dtype=np.float32) + 0.5) / size_px
        x, y = axis[None, :], axis[:, None]
        near, far, colour = (c[:, None, None] for c in (self.near, self.far, self.colour))  # (3, 1, 1)
        # planes, not pixels of three: an innermost axis of 3 costs numpy several times as long
        picture = far + (near - far) * self._texture(x, y)  # (3, S, S), the pattern 0..1
        for fx, fy, phase in self.clutter:
            wave = np.sin(np.float32(fx * 3) * x + np.float32(fy * 3) * y + np.float32(phase))
            picture += (self.clutter_gain / CLUTTER_WAVES) * wave
        if STREAK_LANES[self.f.pace]:
            picture += (1.0 - picture) * (0.7 * self._streaks(x, y, time_s))
        cover, shade = self._subject(x, y, time_s)  # (S, S), 0..1
        picture = picture * (1 - 0.65 * shade) * (1 - cover) + colour * cover
        dark = 1.0 - self.vignette * np.clip(2.4 * ((x - 0.5) ** 2 + (y - 0.5) ** 2), 0, 1)
        light = LIGHT[self.f.tension] * self.exposure
        # tense light is cold as well as dim
        cold = 1.0 - 0.10 * self.f.tension / (LEVELS - 1) * np.array([1.0, 0.4, -0.6])
        picture *= dark * light * cold[:, None, None]
        return np.clip(picture * 255.0 + 0.5, 0, 255).astype(np.uint8).transpose(1, 2, 0)

    def _texture(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        u = x + self.tilt * y
        v = y - self.tilt * x
        k = 2 * np.pi * self.scale
        p = self.phase
        kind = self.f.setting // 4
        if kind == 0:  # broad horizontal waves
            wave = np.sin(k * 5 * v + p[0] + 1.2 * np.sin(k * 2 * u + p[1]))
        elif kind == 1:  # upright stripes
            wave = np.sign(np.sin(k * 9 * u + p[0])) * np.float32(0.9) + 0 * v
        elif kind == 2:  # cells
            wave = np.sin(k * 6 * u + p[0]) * np.sin(k * 6 * v + p[1]) * 1.6
        else:  # a smooth slope with grain
            wave = 1.6 * (v - 0.5) + 0.6 * np.sin(k * 26 * u + p[0]) * np.sin(k * 23 * v + p[1])
        return np.clip(0.5 + 0.5 * wave, 0, 1).astype(np.float32)

    def _streaks(self, x: np.ndarray, y: np.ndarray, time_s: float) -> np.ndarray:
        """Cover 0..1 of thin dashes along the heading; they rush past at a rate of the pace."""
        lanes = STREAK_LANES[self.f.pace]
        hx, hy = self.heading
        along = x * np.float32(hx) + y * np.float32(hy)  # -1.4..1.4
        across = (y * np.float32(hx) - x * np.float32(hy) + 1.5) * lanes  # (S, S)
        lane = across.astype(int) % len(self.lane_offsets)
        dash = along * STREAK_RATE + self.lane_offsets[lane] - time_s * lanes / 4
        thin = np.abs(across % 1 - 0.5) < 0.5 * STREAK_WIDTH * lanes
        return (thin & (dash % 1 < STREAK_DUTY)).astype(np.float32)

    def _subject(self, x: np.ndarray, y: np.ndarray, time_s: float) -> tuple[np.ndarray, np.ndarray]:
        """Cover 0..1 of the subject, and of the shade that sets it off from what is behind it."""
        sway = np.sin(2 * np.pi * 0.11 * time_s + self.phase[2])
        cx, cy = self.centre + self.heading * (0.5 * DRIFT[self.f.pace] * sway)
        dx, dy = (x - cx) / self.radius, (y - cy) / self.radius
        c, s = np.cos(self.angle), np.sin(self.angle)
        return self._shape(c * dx + s * dy, c * dy - s * dx)

    def _shape(self, u: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Cover 0..1 of a shape of radius 1 with its marking, and of its shade, a little larger."""
        r = np.sqrt(u * u + v * v)
        a = np.arctan2(v, u)
        shape, marking = self.f.subject % SUBJECT_KINDS, self.f.subject // SUBJECT_KINDS
        if shape == 0:
            inside = 1.0 - r  # disc
        elif shape == 1:
            inside = 0.8 - np.maximum(np.abs(u), np.abs(v))  # square
        elif shape == 2:
            inside = np.minimum(0.62 - v, 0.62 + v * 0.5 - np.abs(u) * 0.87)  # triangle
        elif shape == 3:
            inside = np.maximum(
                0.28 - np.maximum(np.abs(u), np.abs(v) - 0.7), 0.28 - np.maximum(np.abs(v), np.abs(u) - 0.7)
            )  # cross
        elif shape == 4:
            inside = (0.62 + 0.38 * np.cos(5 * a)) - r  # star
        elif shape == 5:
            inside = np.minimum(0.38 - np.abs(v), 1.1 - np.abs(u))  # bar
        elif shape == 6:
            inside = np.minimum(1.0 - r, np.sqrt((u - 0.5) ** 2 + v * v) - 0.75)  # crescent
        else:
            inside = 0.22 - np.abs(r - 0.75)  # ring
        edge, shade = np.clip(inside * 14 + 0.5, 0, 1), np.clip(inside * 14 + 2.0, 0, 1)
        if marking == 1:
            edge = edge * (0.5 + 0.5 * np.sign(np.sin(11 * u)))  # stripes
        elif marking == 2:
            edge = edge * np.clip(1.0 - 9 * np.clip(inside - 0.14, 0, 1), 0.0, 1)  # outline
        elif marking == 3:
            edge = edge * np.where(v > 0, 1.0, 0.3)  # lower half bright
        return edge.astype(np.float32), shade.astype(np.float32)
