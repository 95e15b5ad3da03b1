"""Kills stubs, Triton, the gateway and the client in the middle of titles: `make chaos`, docs/chaos.md."""
