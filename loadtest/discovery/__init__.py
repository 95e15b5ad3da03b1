"""What the docs of discovery state, measured."""
