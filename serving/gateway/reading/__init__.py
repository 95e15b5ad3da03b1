"""Uploads read in processes of their own, which can be killed: hostile files end there."""

from resonance.serving.gateway.reading.limits import ReadLimits, ReadRequest
from resonance.serving.gateway.reading.memory import MemoryBudget
from resonance.serving.gateway.reading.nursery import NURSERY
from resonance.serving.gateway.reading.process import MediaProcess
from resonance.serving.gateway.reading.spool import SpoolBudget
from resonance.serving.gateway.reading.spool_folder import check_spool_folder

__all__ = [
    "NURSERY",
    "MediaProcess",
    "MemoryBudget",
    "ReadLimits",
    "ReadRequest",
    "SpoolBudget",
    "check_spool_folder",
]
