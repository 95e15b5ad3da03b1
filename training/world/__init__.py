"""A procedural world of titles: independent factors, each of which shows in at least two modalities."""
