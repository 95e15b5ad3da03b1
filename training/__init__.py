"""Training of a space: contrast of what co-occurs, the fusion head, and a procedural world to learn from."""
