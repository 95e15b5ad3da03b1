"""One encoder run one way: rate, share of the matrix rate, and parity with fp32 on fresh inputs."""

from __future__ import annotations

import copy
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from resonance.loadtest.gpu_bench.attention import warm
from resonance.loadtest.gpu_bench.encoders import Encoder
from resonance.loadtest.gpu_bench.report import one_line
from resonance.loadtest.gpu_bench.results import PartResult
from resonance.loadtest.gpu_bench.timing import Deadline, seconds_a_call
from resonance.loadtest.gpu_bench.variants import Run
from resonance.serving.backends.aoti.runner import device_lost

MIN_COSINE = 0.999
#: A rate this much above the matrix rate is noise of the clocks; beyond it something is counted wrongly.
TOLERATED = 1.05
#: 1 - cosine with fp32 may be so much of 1 - cosine between different inputs: however alike a tower's vectors
#: are, what sets them apart is at least ten times what it gets wrong. (HTSAT in bf16 on a CPU: 0.0017.)
MOST_OF_DISTANCE = 0.1
#: Below, vectors of different inputs differ by no more than rounding does, and parity shows nothing.
LEAST_DISTANCE = 1e-5
PARITY_ROWS = 8


class DeviceLostError(RuntimeError):
    """Nothing works on the device any more, as after an illegal memory access."""


@dataclass(slots=True)
class Bench:
    """What every measurement of a run shares. `matrix_tflops` 0: the matrix rate was not measured."""

    device: str
    dtype: torch.dtype
    quick: bool
    matrix_tflops: float
    result: PartResult
    deadline: Deadline

    @contextmanager
    def going_on(self, what: str) -> Iterator[None]:
        """What fails inside is an error of the part, and the rest of it goes on.

        Raises:
            DeviceLostError: that took the device along, so nothing can go on in this process.
        """
        self.result.begin(what)
        try:
            yield
        except DeviceLostError:
            raise
        except Exception as error:
            self.result.error(f"{what}: {one_line(error)}")
            if device_lost(self.device):
                raise DeviceLostError(f"the GPU's context is lost since {what}") from error

    @property
    def round_s(self) -> float:
        """Length of a timed round."""
        return 0.01 if self.quick else 0.2

    def measure(self, encoder: Encoder, variant: str, run: Run, batch: int, reference: nn.Module) -> None:
        """Add a row for `run` at `batch`; a rate that cannot be true or a broken parity is an error."""
        where = f"{encoder.name}, {variant}, batch {batch}"
        with torch.inference_mode():
            x = self.place(encoder.inputs(batch, secrets.randbits(31), self.device))
            cosine, alike = parity(run, reference, x)
            seconds = seconds_a_call(lambda: run(x), self.device, round_s=self.round_s)
        tflops = encoder.flops * batch / seconds / 1e12
        share = tflops / self.matrix_tflops if self.matrix_tflops else None
        if share is not None and share > TOLERATED:
            self.result.error(
                f"{where}: {tflops:.4g} TFLOP/s is above the matrix rate of {self.matrix_tflops:.4g} "
                "measured in this run; FLOPs or time are wrong, the figure is not shown"
            )
            return
        if not cosine >= MIN_COSINE:
            self.result.error(f"{where}: cosine {cosine:.6f} with fp32 (at least {MIN_COSINE})")
        error, distance = 1 - cosine, 1 - alike
        if distance < LEAST_DISTANCE or error > MOST_OF_DISTANCE * distance:
            self.result.error(
                f"{where}: {error:.2g} from fp32 where vectors of different inputs are {distance:.2g} apart; "
                f"parity shows nothing (at most {MOST_OF_DISTANCE:g} of that, which is at least "
                f"{LEAST_DISTANCE:g})"
            )
        self.result.row(
            {
                "encoder": encoder.name,
                "variant": variant,
                "batch": batch,
                "ms": seconds * 1e3,
                "items_per_s": batch / seconds,
                "tflops": tflops,
                "of_matrix_rate": share,
                "cosine_fp32": cosine,
                "between_inputs": alike,
                "error_of_distance": error / distance if distance else None,
            }
        )

    def share(self, of: int) -> Bench:
        """The same with one part in `of` of the time that is left, for one of as many towers."""
        return replace(self, deadline=Deadline(self.deadline.left() / of))

    def place(self, x: Tensor) -> Tensor:
        """`x` on the device, floating numbers in the bench's dtype."""
        return x.to(self.device, self.dtype) if x.is_floating_point() else x.to(self.device)

    def towers(self, encoder: Encoder) -> tuple[nn.Module, nn.Module]:
        """The tower on the device, in fp32 and in the bench's dtype, with the same weights.

        Each begins with cuDNN's attention allowed, and goes without where its largest batch is refused.
        """
        reference = encoder.build(self.device)
        module = copy.deepcopy(reference).to(self.dtype)
        torch.backends.cuda.enable_cudnn_sdp(True)
        x = self.place(encoder.inputs(encoder.largest, 0, self.device))
        with torch.inference_mode():
            warm(lambda: module(x), self.device, encoder.name, self.result.skip)
        return reference, module


def parity(run: Run, reference: nn.Module, x: Tensor) -> tuple[float, float]:
    """(worst cosine with fp32 of a row, median cosine between rows of different inputs).

    Both towers see the same numbers: `x` as it is in the lower precision. fp32 is fp32, without TF32.
    With a single row nothing can be said of different inputs; 0 is given.
    """
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    try:
        found = run(x)[:PARITY_ROWS].double()
        rows = x[:PARITY_ROWS]
        want = reference(rows.float() if rows.is_floating_point() else rows).double()
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before
    cosine = nn.functional.cosine_similarity(found, want).min()
    if not torch.isfinite(found).all():
        return float("nan"), 0.0
    if len(want) == 1:
        return float(cosine), 0.0
    others = nn.functional.cosine_similarity(want[1:], want[:-1])
    return float(cosine), float(others.median())
