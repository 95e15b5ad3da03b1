"""Ingestion held to its promises: nothing lost, nothing twice, at what cost."""
