"""cuDNN's attention, which PyTorch prefers on some GPUs, and which may have no plan for a tower's shapes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from resonance.loadtest.gpu_bench.report import one_line
from resonance.loadtest.gpu_bench.timing import synchronise


def warm(call: Callable[[], Any], device: str, what: str, note: Callable[[str], None]) -> None:
    """Run `call` once; what fails with cuDNN's attention goes on without it, and `note` is told of `what`.

    HTSAT's windows with their masks are such shapes ("No execution plans support the graph"): PyTorch
    chooses a kernel by rules of its own before cuDNN is asked for a plan, and takes no other then.

    A compiler may have no way to call it either, and fails in many ways.

    Raises:
        Exception: it fails without cuDNN's attention too, which is on again.
    """
    try:
        call()
        synchronise(device)
    except Exception as error:
        if not torch.backends.cuda.cudnn_sdp_enabled():
            raise
        torch.backends.cuda.enable_cudnn_sdp(False)
        try:
            call()
            synchronise(device)
        except Exception:
            torch.backends.cuda.enable_cudnn_sdp(True)
            raise error from None
        note(f"{what}, cuDNN's attention: it refuses ({one_line(error)}), so another one is measured")
