"""The `resonance` command."""
