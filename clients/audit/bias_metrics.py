"""Alerts as Prometheus metrics, for the textfile collector of node_exporter."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from resonance.clients.audit.bias import BiasAudit, untested_findings
from resonance.clients.audit.bias_report import worst_of
from resonance.clients.audit.representation import Finding
from resonance.clients.new_files import whole_file

_WORST = "Share less expected of the largest deviation, below 0 where there are too few; alerts or not."


def write_metrics(audit: BiasAudit, path: Path) -> None:
    """Write gauges into `path`, which ends in .prom; it is replaced at one moment.

    Raises:
        OSError: the file cannot be written.
    """
    registry = CollectorRegistry()
    store = audit.survey.uri

    def gauge(name: str, about: str, *labels: str) -> Gauge:
        return Gauge(f"resonance_audit_bias_{name}", about, ["store", *labels], registry=registry)

    gauge("tests", "Tests of the audit, corrected for as one family.").labels(store).set(len(audit.findings))
    gauge("titles", "Titles of the store.").labels(store).set(audit.survey.titles)
    gauge("run_timestamp_seconds", "Unix time at which the audit ended.").labels(store).set(time.time())
    alerts = gauge("alerts", "Deviations that chance does not explain.", "dimension", "kind", "against")
    kinds = _by(audit.findings, lambda one: (one.cell.dimension, one.cell.kind, str(one.cell.against)))
    for labels, found in kinds.items():
        alerts.labels(store, *labels).set(sum(one.alert for one in found))
    by_group = gauge("worst_group_deviation", _WORST, "dimension", "group", "kind", "against")
    for labels, found in _by((*audit.findings, *untested_findings(audit)), _group).items():
        by_group.labels(store, *labels).set(worst_of(found).deviation)
    by_place = gauge("worst_place_deviation", _WORST, "dimension", "kind", "place", "against")
    for labels, found in _by(audit.findings, _place).items():
        by_place.labels(store, *labels).set(worst_of(found).deviation)
    with whole_file(path) as half:
        half.write_bytes(generate_latest(registry))


def _group(one: Finding) -> tuple[str, ...]:
    return one.cell.dimension, one.cell.group, one.cell.kind, str(one.cell.against)


def _place(one: Finding) -> tuple[str, ...]:
    return one.cell.dimension, one.cell.kind, one.cell.place, str(one.cell.against)


def _by(
    findings: tuple[Finding, ...], key: Callable[[Finding], tuple[str, ...]]
) -> dict[tuple[str, ...], list[Finding]]:
    found: dict[tuple[str, ...], list[Finding]] = {}
    for one in findings:
        found.setdefault(key(one), []).append(one)
    return found
