"""Ways to run a tower: as it is, compiled, ahead of time, from a CUDA graph."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

Run = Callable[[Tensor], Tensor]
#: MiniLM's: in so small a tower what stands around the layers is a few hundredths of the time.
WHOLE_LAYERS = 6
#: What a tower calls before its layers and after them.
ENDS = ("stem", "tail")


def compiled(module: nn.Module, *, max_autotune: bool = False) -> nn.Module:
    """`module` under torch.compile, which forgets what it compiled before.

    A tower of up to `WHOLE_LAYERS` layers whole. A deeper one by layer, with what stands before and after
    them: layers of one shape share one compilation, so it takes seconds instead of half a minute, and what
    could be fused across layers is little, a layer ends in a sum or a norm. With `max_autotune` products are
    timed as kernels of Triton's too, with what follows them inside.
    """
    torch._dynamo.reset()
    torch._dynamo.config.recompile_limit = 256  # HTSAT's layers differ in shape, and so do batches
    torch._dynamo.config.fail_on_recompile_limit_hit = True  # else it goes on eagerly under this name
    options = {"max_autotune": True, "triton.enable_persistent_tma_matmul": True} if max_autotune else None
    blocks = module.blocks
    assert isinstance(blocks, nn.ModuleList)
    if len(blocks) <= WHOLE_LAYERS:
        module.compile(dynamic=False, options=options)
        return module
    for block in blocks:
        block.compile(dynamic=False, options=options)
    for name in ENDS:
        if method := getattr(type(module), name, None):
            setattr(module, name, torch.compile(method.__get__(module), dynamic=False, options=options))
    return module


class FlashAttention(nn.Module):
    """`module` with PyTorch's own kernels of FlashAttention; where they cannot, it raises."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        """Whatever `module` gives."""
        with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
            out: Tensor = self.module(x)
        return out


@torch.inference_mode()
def graphed(run: Run, example: Tensor) -> Run:
    """`run` replayed from a CUDA graph of the shape of `example`; the output is overwritten each time."""
    static = example.clone()
    graph, out = captured(lambda: run(static))

    def replay(x: Tensor) -> Tensor:
        static.copy_(x)
        graph.replay()
        return out

    return replay


def captured(call: Callable[[], Tensor]) -> tuple[torch.cuda.CUDAGraph, Tensor]:
    """`call` as a CUDA graph, and the output that every replay overwrites; it runs three times before."""
    stream, before = torch.cuda.Stream(), torch.cuda.current_stream()
    stream.wait_stream(before)
    with torch.cuda.stream(stream):
        for _ in range(3):
            call()
    before.wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph):
            return graph, call()
    except BaseException:
        # where ending the capture fails, torch leaves its stream the current one, and what is measured
        # after it would run there
        torch.cuda.set_stream(before)
        raise


def compile_package(
    module: nn.Module, example: Tensor, largest: int, path: Path, *, dynamic: bool, max_autotune: bool
) -> None:
    """`module` with a batch of 1 to `largest` (or of just `example`'s) as an AOTInductor package."""
    dim = torch.export.Dim.DYNAMIC(min=1, max=largest)
    with torch.no_grad():
        program = torch.export.export(module, (example,), dynamic_shapes=({0: dim},) if dynamic else None)
        torch._inductor.aoti_compile_and_package(
            program,
            package_path=str(path),
            inductor_configs={"max_autotune": True} if max_autotune else {},
        )


def load_package(path: Path, device: str) -> Run:
    """The package as a function; single-threaded, as CUDA graphs ask for."""
    index = torch.cuda.current_device() if device == "cuda" else -1
    package = torch._inductor.aoti_load_package(str(path), run_single_threaded=True, device_index=index)

    def run(x: Tensor) -> Tensor:
        out = package(x)
        return out if isinstance(out, Tensor) else out[0]

    return run
