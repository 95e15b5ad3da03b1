"""Resonance: media in, vectors of one shared meaning space out.

The folders of the repository's top level are this package's parts; the links beside this file give
them the import name ``resonance.*`` so that no part claims a name such as ``clients`` of its own.
"""

__version__ = "0.1.0"
