"""Cold start as an experiment: two towers over vectors against the same over anything else, on a log."""
