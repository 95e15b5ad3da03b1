"""Mutated inputs against what a stranger can reach: the reading of uploads, the decoding of clips, every RPC.

Every input is made from (seed, number) alone, so that a finding is made again by its number. docs/fuzzing.md
states what was run and found.
"""
