"""What docs/benchmarks.md states, measured: `make bench`."""
