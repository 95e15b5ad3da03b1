"""Metrics: what is shown over HTTP, bounded labels, rates, and no GPU where there is none."""

from __future__ import annotations

import math
import os
import resource
import socket
import threading
import time
import urllib.error
import urllib.request
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from resonance.serving.gateway.certificates import Validity
from resonance.serving.gateway.gpu_metrics import GpuCollector
from resonance.serving.gateway.labels import OTHER, BoundedLabels
from resonance.serving.gateway.metrics import (
    FAULT_CODES,
    METHODS,
    UNKNOWN_METHOD,
    GatewayMetrics,
    Stage,
)
from resonance.serving.gateway.metrics_server import MOST_AT_A_TIME, MetricsServer
from resonance.serving.gateway.reasons import HandshakeFault, Kill, Refusal
from tests.waiting import until


class Clock:
    """Seconds that a test moves."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def _scrape(server: MetricsServer) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    with urllib.request.urlopen(f"http://{server.host}:{server.port}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    return {
        (sample.name.removeprefix("resonance_gateway_"), tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_everything_is_shown_over_http_and_the_port_is_given_back() -> None:
    metrics = GatewayMetrics(version="1.2.3")
    server = MetricsServer(metrics)
    try:
        metrics.call_ended("/a/B", "OK", 0.2)
        metrics.call_refused("queue")
        metrics.call_unauthenticated("/a/B")
        metrics.call_abandoned("/a/B")
        metrics.segment_answered(8.0)
        metrics.segment_answered(4.5)
        metrics.segments_resumed(3)
        metrics.bytes_received(1000)
        metrics.media_late(2, 1.5, 3)
        metrics.reader_killed("memory")
        metrics.observe(Stage.ADMISSION, 0.02)
        with metrics.time(Stage.FUSION):
            pass
        metrics.inference_ended("visual_encoder", 0.012)
        metrics.inference_failed("visual_encoder")
        metrics.model_health("visual_encoder", True)
        metrics.model_health("audio_encoder", False)
        metrics.space("tiny", "f" * 64, True)
        metrics.handshake_failed("plain_text")
        metrics.queued.set_function(lambda: 4)
        metrics.segments_in_flight.set(2)
        metrics.spooled_bytes.inc(77)
        metrics.certificate_in_use(lambda: Validity(1000.0, 1234.0))
        seen = _scrape(server)
        for name, labels, value in (
            ("calls_total", {"method": "/a/B", "code": "OK"}, 1),
            ("call_seconds_bucket", {"method": "/a/B", "le": "0.25"}, 1),
            ("call_seconds_bucket", {"method": "/a/B", "le": "0.15"}, 0),
            ("refused_total", {"reason": "queue"}, 1),
            ("unauthenticated_total", {"method": "/a/B"}, 1),
            ("abandoned_total", {"method": "/a/B"}, 1),
            ("segments_total", {}, 2),
            ("media_seconds_total", {}, 12.5),
            ("segments_resumed_total", {}, 3),
            ("received_bytes_total", {}, 1000),
            ("late_frames_total", {}, 2),
            ("late_sound_seconds_total", {}, 1.5),
            ("late_cues_total", {}, 3),
            ("readers_killed_total", {"reason": "memory"}, 1),
            ("stage_seconds_bucket", {"stage": "admission", "le": "0.025"}, 1),
            ("stage_seconds_count", {"stage": "fusion"}, 1),
            ("stage_seconds_count", {"stage": "segment"}, 0),
            ("inference_seconds_count", {"model": "visual_encoder"}, 1),
            ("inference_failed_total", {"model": "visual_encoder"}, 1),
            ("model_serving", {"model": "visual_encoder"}, 1),
            ("model_serving", {"model": "audio_encoder"}, 0),
            ("space_info", {"name": "tiny", "fingerprint": "f" * 64, "trained": "true"}, 1),
            ("build_info", {"version": "1.2.3"}, 1),
            ("tls_handshakes_failed_total", {"reason": "plain_text"}, 1),
            ("queued_calls", {}, 4),
            ("segments_in_flight", {}, 2),
            ("spooled_bytes", {}, 77),
            ("tls_certificate_expires_timestamp_seconds", {}, 1234),
            ("tls_certificate_lifetime_seconds", {}, 234),
        ):
            assert seen[name, tuple(sorted(labels.items()))] == value, name
            assert metrics.value(name, **labels) == value
        assert metrics.refused_by_reason() == {"queue": 1}
        assert metrics.abandoned() == 1
    finally:
        server.close()
    with pytest.raises(urllib.error.URLError):
        _scrape(server)
    again = MetricsServer(metrics, port=server.port)
    again.close()


def test_connections_that_ask_for_nothing_take_few_threads_and_keep_nobody_out() -> None:
    more = 4
    server = MetricsServer(GatewayMetrics(gpu=False), timeout_s=60.0)
    try:
        before = threading.active_count()
        address = server.host, server.port
        idle = [socket.create_connection(address, timeout=5) for _ in range(MOST_AT_A_TIME + more)]
        for one in idle[:more]:
            assert one.recv(1) == b"", "the oldest end for others"
        until(lambda: threading.active_count() <= before + MOST_AT_A_TIME, 5)
        assert _scrape(server)
        for one in idle:
            one.close()
        until(lambda: threading.active_count() == before, 5)
    finally:
        server.close()


def test_who_cannot_be_accepted_for_want_of_files_costs_no_core_and_is_answered_later() -> None:
    server = MetricsServer(GatewayMetrics(gpu=False))
    most = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        with socket.socket() as one:
            one.settimeout(5)
            lowest_free = os.dup(one.fileno())
            os.close(lowest_free)
            resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, most[1]))
            try:
                one.connect((server.host, server.port))
                one.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
                time.sleep(0.5)
                used_s = time.clock_gettime(time.pthread_getcpuclockid(server._thread.ident or 0))
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, most)
            assert used_s < 0.1
            assert one.recv(15) == b"HTTP/1.0 200 OK"
    finally:
        server.close()


def test_a_connection_that_asks_for_nothing_ends() -> None:
    server = MetricsServer(GatewayMetrics(gpu=False), timeout_s=0.2)
    try:
        before = threading.active_count()
        with socket.create_connection((server.host, server.port), timeout=5) as one:
            assert one.recv(1) == b""
        until(lambda: threading.active_count() == before, 5)
    finally:
        server.close()


def test_what_is_counted_later_is_there_from_the_start_with_0() -> None:
    """Prometheus sees no increase in a counter that begins at what its first burst made of it."""
    metrics = GatewayMetrics(gpu=False)
    shown = {
        (sample.name.removeprefix("resonance_gateway_"), tuple(sorted(sample.labels.items()))): sample.value
        for family in metrics.registry.collect()
        for sample in family.samples
    }
    expected = [("refused_total", {"reason": reason}) for reason in Refusal]
    expected += [("readers_killed_total", {"reason": reason}) for reason in Kill]
    expected += [("tls_handshakes_failed_total", {"reason": reason}) for reason in HandshakeFault]
    for method in METHODS:
        expected += [("abandoned_total", {"method": method}), ("call_seconds_count", {"method": method})]
    for method in (*METHODS, UNKNOWN_METHOD):
        expected.append(("unauthenticated_total", {"method": method}))
        expected += [("calls_total", {"method": method, "code": code}) for code in ("OK", *FAULT_CODES)]
    assert len(METHODS) == 5
    for name, labels in expected:
        assert shown[name, tuple(sorted(labels.items()))] == 0, (name, labels)
    # GetStatus tells what happened
    assert (metrics.refused_by_reason(), metrics.abandoned()) == ({}, 0)


def test_two_gateways_in_one_process_share_nothing() -> None:
    one, two = GatewayMetrics(gpu=False), GatewayMetrics(gpu=False)
    one.segment_answered(8.0)
    assert (one.value("segments_total"), two.value("segments_total")) == (1, 0)


def test_a_stage_is_timed_when_it_fails_too() -> None:
    clock = Clock()
    metrics = GatewayMetrics(gpu=False, clock=clock)
    with suppress(ZeroDivisionError), metrics.time(Stage.READING):
        clock.now_s += 3
        raise ZeroDivisionError
    assert metrics.value("stage_seconds_sum", stage="reading") == 3


def test_rates_over_the_last_minute() -> None:
    clock = Clock()
    metrics = GatewayMetrics(gpu=False, clock=clock)
    assert metrics.throughput().segments_per_s == 0
    for _ in range(10):
        clock.now_s += 1
        metrics.segment_answered(8.0)
        metrics.segment_answered(4.0)
    assert metrics.throughput().segments_per_s == pytest.approx(2.0)  # of ten seconds
    assert metrics.throughput().media_s_per_s == pytest.approx(12.0)
    clock.now_s += 50
    assert metrics.throughput().segments_per_s == pytest.approx(20 / 60, rel=0.11)  # the first one is leaving
    clock.now_s += 11
    assert metrics.throughput().media_s_per_s == 0
    assert metrics.uptime_s() == 71


@given(st.lists(st.integers(0, 5000), max_size=200), st.integers(0, 100))
def test_rates_equal_a_plain_count(gaps_ms: list[int], wait_s: int) -> None:
    clock = Clock()
    metrics_meter = GatewayMetrics(gpu=False, clock=clock)
    times = []
    for gap_ms in gaps_ms:
        clock.now_s += gap_ms / 1000
        metrics_meter.segment_answered(1.0)
        times.append(clock.now_s)
    clock.now_s += wait_s
    span_s = min(max(clock.now_s - 1000.0, 1.0), 60.0)
    counted = metrics_meter.throughput().segments_per_s * span_s
    within = sum(t > clock.now_s - 59 for t in times)  # buckets are seconds wide
    assert within - 1e-6 <= counted <= sum(t > clock.now_s - 61 for t in times) + 1e-6


@given(st.lists(st.text(max_size=200), max_size=300))
def test_labels_are_few_and_plain(values: list[str]) -> None:
    bounded = BoundedLabels(most=10)
    shown = {bounded(value) for value in values}
    assert len(shown) <= 11
    assert all(label.isascii() and label.isprintable() and len(label) <= 100 for label in shown)


def test_a_callers_text_never_becomes_a_label() -> None:
    metrics = GatewayMetrics(gpu=False)
    for number in range(500):
        metrics.call_refused(f"reason-{number}")
        metrics.call_refused(f"words of a caller {number}\n")
    reasons = metrics.refused_by_reason()
    assert len(reasons) == 65
    assert reasons[OTHER] == 1000 - 64


def test_gpus_are_told_where_there_are_some() -> None:
    families = list(GpuCollector().collect())
    try:
        import pynvml

        pynvml.nvmlInit()
        gpus = pynvml.nvmlDeviceGetCount()
    except Exception:
        gpus = 0
    if not gpus:
        assert families == []
        return
    assert {family.name.removeprefix("resonance_gateway_gpu_") for family in families} == {
        "utilization_ratio",
        "decoder_utilization_ratio",
        "memory_used_bytes",
    }
    assert all(0 <= sample.value < math.inf for family in families for sample in family.samples)


def test_counting_is_cheap() -> None:
    """A segment costs milliseconds to embed; counting it must not show beside that."""
    metrics = GatewayMetrics(gpu=False)
    started_s = time.perf_counter()
    for _ in range(1000):
        metrics.segment_answered(8.0)
        metrics.observe(Stage.SEGMENT, 0.1)
        metrics.inference_ended("visual_encoder", 0.01)
    assert (time.perf_counter() - started_s) / 1000 < 0.5e-3
