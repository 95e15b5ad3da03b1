"""What is sent: titles of several lengths, containers and codecs, feeds, queries and bad files, made once.

The process that sends neither encodes nor decodes anything: it reads what was written here.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

WINDOW_S = 8.0
#: A tail shorter than this makes no window of its own.
SHORTEST_TAIL_S = 1.0
_INDEX = "material.json"
#: Raised whenever what is made changes, so that nobody sends an older kind.
_VERSION = 2

ENCODED, TEXT, SUBTITLES = "encoded", "text", "subtitles"


@dataclass(frozen=True, slots=True)
class Title:
    """A file to upload.

    Attributes:
        name: what its calls are called in the figures. mode: `ENCODED`, `TEXT` or `SUBTITLES`.
        media_s: how long it is; 0 for what has no clock.
        segments: how many must be answered; 0: at least one.
    """

    name: str
    file: str
    mode: str
    media_s: float
    segments: int


@dataclass(frozen=True, slots=True)
class Query:
    """Parts of a query: which field of QueryPart, and a file or the text itself."""

    name: str
    parts: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Material:
    """All of it.

    Attributes:
        titles: uploaded in turn. long_title: for who reads slowly. bad: must be refused with a typed error.
        feed: bytes of a broadcast in pieces, `feed_pieces` where each ends: seconds and size in bytes.
    """

    folder: Path
    titles: tuple[Title, ...]
    long_title: Title
    bad: tuple[Title, ...]
    queries: tuple[Query, ...]
    feed: str
    feed_pieces: tuple[tuple[float, int], ...]

    def read(self, file: str) -> bytes:
        """A file's bytes."""
        return (self.folder / file).read_bytes()

    def feed_bytes(self) -> list[tuple[float, bytes]]:
        """Where each piece of the broadcast ends, in seconds, and the piece."""
        data, at, found = self.read(self.feed), 0, []
        for end_s, size in self.feed_pieces:
            found.append((end_s, data[at : at + size]))
            at += size
        return found


def windows(media_s: float) -> int:
    """Segments that a title of `media_s` seconds has."""
    whole, tail_s = divmod(media_s, WINDOW_S)
    return int(whole) + (tail_s >= SHORTEST_TAIL_S or not whole)


def made(folder: Path) -> Material:
    """What was made into `folder`.

    Raises:
        FileNotFoundError: nothing was.
    """
    index = json.loads((folder / _INDEX).read_text(encoding="utf-8"))
    return Material(
        folder=folder,
        titles=tuple(Title(**each) for each in index["titles"]),
        long_title=Title(**index["long_title"]),
        bad=tuple(Title(**each) for each in index["bad"]),
        queries=tuple(
            Query(each["name"], tuple((field, value) for field, value in each["parts"]))
            for each in index["queries"]
        ),
        feed=index["feed"],
        feed_pieces=tuple((end_s, size) for end_s, size in index["feed_pieces"]),
    )


def make(folder: Path) -> Material:
    """Everything in `folder`, made where it is not there yet (about 8 s on two cores)."""
    folder.mkdir(parents=True, exist_ok=True)
    index = folder / _INDEX
    if not index.exists() or json.loads(index.read_text(encoding="utf-8")).get("version") != _VERSION:
        titles, long_title = _titles(folder)
        feed, pieces = _feed(folder)
        content = {
            "version": _VERSION,
            "titles": [asdict(each) for each in titles],
            "long_title": asdict(long_title),
            "bad": [asdict(each) for each in _bad(folder, titles)],
            "queries": [asdict(each) for each in _queries(folder)],
            "feed": feed,
            "feed_pieces": pieces,
        }
        unfinished = index.with_suffix(".part")
        unfinished.write_text(json.dumps(content, indent=1), encoding="utf-8")
        unfinished.rename(index)
    return made(folder)


#: Codec, container, length in seconds, width, height, options of the encoder.
_VIDEOS: tuple[tuple[str, str, int, int, int, tuple[tuple[str, str], ...]], ...] = (
    ("libx264", "mkv", 16, 320, 240, (("preset", "veryfast"), ("crf", "26"))),
    ("libx264", "mp4", 30, 480, 270, (("preset", "veryfast"), ("crf", "26"))),
    ("libx264", "ts", 24, 320, 180, (("preset", "veryfast"), ("crf", "26"), ("bf", "0"))),
    ("libx265", "mp4", 20, 320, 240, (("preset", "ultrafast"), ("x265-params", "log-level=error"))),
    ("libvpx-vp9", "webm", 12, 320, 240, (("deadline", "realtime"), ("cpu-used", "8"))),
    ("libsvtav1", "mp4", 10, 320, 240, (("preset", "12"),)),
    ("mpeg4", "avi", 8, 320, 240, ()),
)
_LONG_S = 240


def _titles(folder: Path) -> tuple[list[Title], Title]:
    """All that is uploaded: video, sound, a picture, text and subtitles; and the long one."""
    from resonance.loadtest.films import Film, film, loop

    titles = []
    for codec, container, length_s, width, height, options in _VIDEOS:
        path = loop(Film("", codec, container, 0, 2.0, options, width, height, length_s), folder)
        name = f"upload {codec.removeprefix('lib')} {container} {length_s} s"
        titles.append(Title(name, path.name, ENCODED, length_s, windows(length_s)))
    for container, length_s in (("mp3", 25), ("flac", 9)):
        titles.append(_sound_title(folder, container, length_s))
    picture = folder / "picture.jpg"
    picture.write_bytes(_jpeg(640, 480))
    titles.append(Title("upload picture", picture.name, ENCODED, 0.0, 1))
    (folder / "article.txt").write_text(" ".join(_SENTENCES * 3), encoding="utf-8")
    titles.append(Title("upload text", "article.txt", TEXT, 0.0, 0))
    (folder / "words.srt").write_text(_subtitles(24), encoding="utf-8")
    titles.append(Title("upload subtitles 24 s", "words.srt", SUBTITLES, 24.0, 3))
    small = Film("long", "libx264", "mkv", _LONG_S // 60, 2.0, _VIDEOS[0][-1], 192, 144, 30)
    long_title = Title("slow reader", film(small, folder).name, ENCODED, _LONG_S, windows(_LONG_S))
    return titles, long_title


def _sound_title(folder: Path, container: str, length_s: int) -> Title:
    import av
    from av.audio.stream import AudioStream

    codec, rate_hz = {"mp3": "libmp3lame", "flac": "flac"}[container], 44_100
    path = folder / f"sound_{length_s}s.{container}"
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=rate_hz)
        assert isinstance(stream, AudioStream)
        stream.layout = "mono"
        frame = av.AudioFrame.from_ndarray(_tune(length_s, rate_hz)[None], format="s16", layout="mono")
        frame.sample_rate = rate_hz
        resampler = av.AudioResampler(stream.codec_context.format, "mono", rate_hz)
        for ready in (*resampler.resample(frame), *resampler.resample(None)):
            out.mux(stream.encode(ready))
        out.mux(stream.encode(None))
    return Title(f"upload {container} {length_s} s", path.name, ENCODED, length_s, windows(length_s))


def _tune(length_s: int, rate_hz: int) -> np.ndarray:
    """A tone that steps up every second, int16 [length_s * rate_hz]."""
    t = np.arange(length_s * rate_hz) / rate_hz
    return np.rint(8000 * np.sin(2 * np.pi * 220 * 2 ** (np.floor(t) % 12 / 12) * t)).astype(np.int16)


def _jpeg(width: int, height: int) -> bytes:
    from PIL import Image

    rows = np.linspace(0, 255, height)[:, None, None]
    columns = np.linspace(0, 255, width)[None, :, None]
    pixels = np.clip(rows * (0.3, 0.6, 1.0) + columns * (0.7, 0.4, 0.0), 0, 255).astype(np.uint8)
    encoded = io.BytesIO()
    Image.fromarray(pixels).save(encoded, "JPEG", quality=90)
    return encoded.getvalue()


_SENTENCES = (
    "A boat leaves the harbour before dawn, and nobody waves.",
    "Two sisters argue about a letter that never came.",
    "The band plays on while the lights go out, one by one.",
    "He counts the steps to the door and turns back again.",
)


def _subtitles(length_s: int) -> str:
    """An SRT with a cue every two seconds."""
    cues = []
    for number, start_s in enumerate(range(0, length_s, 2)):
        text = _SENTENCES[number % len(_SENTENCES)]
        cues.append(f"{number + 1}\n00:00:{start_s:02},000 --> 00:00:{start_s + 2:02},000\n{text}\n")
    return "\n".join(cues)


def _bad(folder: Path, titles: Sequence[Title]) -> list[Title]:
    """Files that are no media: noise, an MP4 without its index, a page of HTML."""
    rng = np.random.default_rng(41)
    mp4 = next(each for each in titles if each.file.endswith("mp4"))
    whole = (folder / mp4.file).read_bytes()
    contents = {
        "noise.bin": rng.integers(0, 256, 40_000, np.uint8).tobytes(),
        "cut.mp4": whole[: min(60_000, len(whole) // 2)],
        "page.html": b"<html><body>the file you ask for has moved</body></html>" * 40,
    }
    for name, data in contents.items():
        (folder / name).write_bytes(data)
    return [Title("bad file", name, ENCODED, 0.0, 0) for name in contents]


def _queries(folder: Path) -> list[Query]:
    """Text short and long, a picture, a sound, a mix of the three."""
    (folder / "query.jpg").write_bytes(_jpeg(320, 240))
    _sound_title(folder, "flac", 4)
    sentence, article = _SENTENCES[0], " ".join(_SENTENCES)
    sound = ("sound", "sound_4s.flac")
    return [
        Query("query text", (("text", sentence),)),
        Query("query long text", (("text", article),)),
        Query("query picture", (("image", "query.jpg"),)),
        Query("query sound", (sound,)),
        Query("query mixed", (("text", sentence), ("image", "query.jpg"), sound)),
    ]


def _feed(folder: Path) -> tuple[str, list[tuple[float, int]]]:
    """Forty seconds of a broadcast in pieces of half a second."""
    from resonance.loadtest.gateway.material import Broadcast

    name, sizes, data = "broadcast.ts", [], bytearray()
    for end_s, piece in Broadcast(160, 90, 100_000).pieces(0.5, 1):
        sizes.append((end_s, len(piece)))
        data += piece
    (folder / name).write_bytes(data)
    return name, sizes
