"""How busy each GPU, its decoder and its memory are, where NVML finds one; nothing where not."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

_log = logging.getLogger(__name__)


class GpuCollector(Collector):
    """Asks NVML at each scrape. Without a driver or a GPU it yields nothing, and asks no more."""

    def __init__(self) -> None:
        self._count = _gpu_count()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """One value a GPU in each family."""
        if not self._count:
            return
        import pynvml

        busy = GaugeMetricFamily(
            "resonance_gateway_gpu_utilization_ratio", "Share of the time that kernels ran", labels=["gpu"]
        )
        decoder = GaugeMetricFamily(
            "resonance_gateway_gpu_decoder_utilization_ratio",
            "Share of the time that NVDEC ran",
            labels=["gpu"],
        )
        memory = GaugeMetricFamily("resonance_gateway_gpu_memory_used_bytes", "Memory in use", labels=["gpu"])
        for index in range(self._count):
            label = [str(index)]
            try:
                handle = pynvml.nvmlDeviceGetHandleByIndex(index)
                busy.add_metric(label, pynvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100)
                decoder.add_metric(label, pynvml.nvmlDeviceGetDecoderUtilization(handle)[0] / 100)
                memory.add_metric(label, pynvml.nvmlDeviceGetMemoryInfo(handle).used)
            except pynvml.NVMLError:
                continue  # lost or not telling (MIG): the others still are
        yield from (busy, decoder, memory)


def _gpu_count() -> int:
    try:
        import pynvml

        pynvml.nvmlInit()
        return int(pynvml.nvmlDeviceGetCount())
    except Exception as error:
        # no library, no driver, or one of another version: all mean that there is nothing to tell
        _log.debug("no GPU is measured: %s", type(error).__name__)
        return 0
