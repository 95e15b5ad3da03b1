"""Media to segments: demuxing, sampling, sound, subtitles. Pictures are decoded only where they must be."""
