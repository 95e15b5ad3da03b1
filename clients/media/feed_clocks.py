"""How far each modality of a feed has come, and up to when its windows are complete."""

from __future__ import annotations

from collections.abc import Set

#: Without a later cue or mark, words count as complete when pictures and sound are this much further.
WORDS_WAIT_S = 4.0
#: Pictures or sound further behind than this no longer hold windows back.
BEHIND_S = 8.0


class FeedClocks:
    """A clock a modality; none of them runs back.

    Args:
        modalities: those that will come.
        start_s: where all begin.
    """

    def __init__(self, modalities: Set[str], start_s: float) -> None:
        self._timed = dict.fromkeys(sorted(modalities & {"visual", "audio"}), start_s)
        self._came = dict(self._timed)
        self._words_s = start_s if "transcript" in modalities else None

    def reach(self, modality: str, time_s: float, came_s: float | None = None) -> None:
        """Everything of `modality` that starts before `time_s` has come and is in its windows.

        `came_s`: up to when it has come, where some of it waits in a resampler.
        """
        if modality == "transcript":
            self._words_s = time_s if self._words_s is None else max(self._words_s, time_s)
        else:
            self._timed[modality] = max(self._timed[modality], time_s)
            came_s = time_s if came_s is None else came_s
            self._came[modality] = max(self._came[modality], came_s)

    def complete_s(self) -> float:
        """Windows that end by then have all they wait for. It may run back when a modality catches up."""
        if not self._timed:
            return self._words_s or 0.0
        lead_s = max(self._timed.values())
        seen_and_heard_s = min(
            t for m, t in self._timed.items() if lead_s - max(t, self._came[m]) <= BEHIND_S
        )
        if self._words_s is None:
            return seen_and_heard_s
        return min(seen_and_heard_s, max(self._words_s, seen_and_heard_s - WORDS_WAIT_S))
