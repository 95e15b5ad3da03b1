"""The sample film that `make demo` renders."""

from __future__ import annotations

from pathlib import Path

import av
import pysubs2
import pytest

from resonance.clients.embedder import Embedder
from resonance.clients.sample import DURATION_S, SCENES, render_sample
from resonance.clients.signals import signal_value


async def test_the_sample_has_pictures_sound_and_words_and_an_arc(embedder: Embedder, tmp_path: Path) -> None:
    video, captions = render_sample(tmp_path / "sample.mp4")
    with av.open(str(video), "r") as container:
        assert {s.type for s in container.streams} == {"video", "audio"}
        assert container.duration is not None
        assert container.duration / av.time_base == pytest.approx(DURATION_S, abs=0.2)
    assert len(pysubs2.load(str(captions))) == sum(bool(s.caption) for s in SCENES)

    result = await embedder.embed(video)  # finds the captions beside it
    assert result.modalities == ("visual", "audio", "transcript")
    by_time = {round(s.start_s or 0): s.signals for s in result.segments}
    calm, storm = by_time[0], by_time[16]
    for name in ("loudness_dbfs", "onset_rate_hz", "cut_rate_per_min"):
        low, high = signal_value(calm[name]), signal_value(storm[name])
        assert low is not None
        assert high is not None
        assert high > low, name
