"""A library in, every vector stored once: catalogues, the job, its journal and the sinks."""
