"""The streams of a title, each read by a thread of its own, joined window by window into segments."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from resonance.clients.errors import CorruptMediaError, MediaStalledError, NoModalityError
from resonance.clients.media.container import typed_errors
from resonance.clients.media.joined import join_window
from resonance.clients.media.packets import Title
from resonance.clients.media.sound import SoundWindow
from resonance.clients.media.types import SegmentInput
from resonance.clients.media.video import VideoWindow
from resonance.clients.media.words import WordsWindow

T = TypeVar("T")

#: Windows a stream may be ahead of the slowest one.
READ_AHEAD_WINDOWS = 3
#: How often a wait for a window looks whether the title was closed, or has stalled.
LOOK_S = 0.25
#: How long closing waits for the threads to finish the step they are in.
CLOSING_S = 2.0


class Feed(Generic[T]):
    """A thread that runs ahead of its reader by at most `READ_AHEAD_WINDOWS` windows."""

    def __init__(self, title: Title, windows: Callable[[], Iterator[tuple[int, T]]], label: str) -> None:
        self._title, self._windows = title, windows
        self._ready: queue.Queue[tuple[int, T] | BaseException | None] = queue.Queue(READ_AHEAD_WINDOWS)
        self._head: tuple[int, T] | None = None
        self._ended = False
        self._thread = threading.Thread(target=self._run, name=f"resonance-read-{label}", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            with typed_errors(self._title.name), contextlib.closing(self._windows()) as windows:  # type: ignore[type-var]
                for item in windows:
                    if not self._offer(item):
                        return
            self._offer(None)
        except BaseException as error:
            self._offer(error)

    def _offer(self, item: tuple[int, T] | BaseException | None) -> bool:
        while not self._title.stopping.is_set():
            with contextlib.suppress(queue.Full):
                self._ready.put(item, timeout=0.1)
                return True
        return False

    def head(self) -> tuple[int, T] | None:
        """The next window, left in place; None at the end.

        Raises:
            MediaStalledError: no packet or frame was handled for too long. MediaError: as the thread met it.
        """
        if self._head is None and not self._ended:
            item = self._wait()
            if isinstance(item, BaseException):
                self._ended = True
                raise item
            self._head, self._ended = item, item is None
        return self._head

    def _wait(self) -> tuple[int, T] | BaseException | None:
        times, timeout_s = self._title.times, self._title.limits.stall_timeout_s
        waits, thread = self._title.source.waits, self._thread.ident
        steps, since, waited_s = times.steps, time.monotonic(), waits.seconds(thread)
        while True:
            with contextlib.suppress(queue.Empty):
                return self._ready.get(timeout=min(LOOK_S, timeout_s))
            if self._title.stopping.is_set():
                return None  # the thread has ended without another word
            if times.steps != steps:
                steps, since, waited_s = times.steps, time.monotonic(), waits.seconds(thread)
            elif time.monotonic() - since - (waits.seconds(thread) - waited_s) > timeout_s:
                raise MediaStalledError(
                    self._title.name,
                    f"no packet and no frame for {timeout_s:g} s",
                    "a stream that can be read on",
                )

    def take(self, index: int) -> T | None:
        """The content of window `index`, if the head is that window."""
        if self._head is None or self._head[0] != index:
            return None
        content, self._head = self._head[1], None
        return content

    def join(self, timeout_s: float) -> None:
        """Wait for the thread, which ends once `Title.stopping` is set."""
        self._thread.join(timeout_s)


class Joiner:
    """Merges the streams' windows by index into segments.

    A stream is any callable whose iterator gives (window index, content) in rising order. Each is read
    by a thread of its own from a container of its own, so that neither bad interleaving nor a gap of
    hours makes one stream's packets pile up while another's are looked for.

    Windows below `first_index` are read over: whoever resumes a title has them already. `resumed`: windows
    came before these, so that none is no error and a short one at the end is dropped.
    """

    def __init__(
        self,
        title: Title,
        *,
        video: Callable[[], Iterator[tuple[int, VideoWindow]]] | None = None,
        sound: Callable[[], Iterator[tuple[int, SoundWindow]]] | None = None,
        words: Callable[[], Iterator[tuple[int, WordsWindow | None]]] | None = None,
        first_index: int = 0,
        resumed: bool = False,
    ) -> None:
        self._title, self._first_index = title, first_index
        self._resumed = resumed or first_index > 0
        self._segment = title.descriptor.segment
        self._windows = title.windows
        self._sources = (video, sound, words)
        self._feeds: list[Feed[VideoWindow] | Feed[SoundWindow] | Feed[WordsWindow | None]] = []

    def close(self) -> None:
        """End the threads; one that hangs in a read that never returns is left behind (they are daemons)."""
        self._title.stopping.set()
        deadline = time.monotonic() + CLOSING_S
        for feed in self._feeds:
            feed.join(max(deadline - time.monotonic(), 0.0))

    def segments(self) -> Iterator[SegmentInput]:
        """See `MediaReader.segments`."""
        video, sound, words = self._sources
        pictures = Feed(self._title, video, "video") if video else None
        heard = Feed(self._title, sound, "sound") if sound else None
        spoken = Feed(self._title, words, "words") if words else None
        self._feeds = [feed for feed in (pictures, heard, spoken) if feed is not None]
        emitted = int(self._resumed)  # of a resumed title the window before the first was handed out
        last = -1
        while True:
            shown, sounding = pictures and pictures.head(), heard and heard.head()
            present = [shown[0]] if shown and (sounding or not shown[1].stands_on) else []
            present += [sounding[0]] if sounding else []
            if last >= 0 and not present:
                break  # cues after the end of what they belong to are not part of the title
            if spoken and (said := spoken.head()):
                present.append(said[0])
            if not present:
                break
            index = min(present)
            seen = pictures.take(index) if pictures else None
            sounds = heard.take(index) if heard else None
            if seen or sounds:
                last = index
            said_here = spoken.take(index) if spoken else None
            if index < self._first_index:
                continue
            segment = join_window(self._windows, index, seen, sounds, said_here)
            if segment is None or self._is_short_tail(segment, emitted):
                continue
            emitted += 1
            yield segment
        if not self._title.stopping.is_set():
            self._title.times.missing_s = self._title.end.missing_s()
            if not emitted:
                self._explain_nothing()

    def _explain_nothing(self) -> None:
        if self._title.times.broken or self._title.times.missing_s:
            raise CorruptMediaError(
                self._title.name, "not one packet that can be used", "a whole file that a player plays"
            )
        raise NoModalityError.nothing(self._title.name, self._title.descriptor.sound.silence_dbfs)

    def _is_short_tail(self, segment: SegmentInput, emitted: int) -> bool:
        """Under `min_tail_s` of content: streams end their last window early, and no other."""
        assert segment.start_s is not None
        assert segment.end_s is not None
        return emitted > 0 and segment.end_s - segment.start_s < self._segment.min_tail_s
