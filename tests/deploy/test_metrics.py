"""Every metric and label of the dashboard and of the alerts is one that a real server exports."""

from __future__ import annotations

import re
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field

import promql_parser as promql
import pytest

from tests.deploy.files import alerts, dashboard

#: Exported only where there is a GPU, which this machine may lack: names and labels are from Triton's
#: documentation of metrics and stay unproven here (docs/verification.md).
GPU_METRICS = {
    "nv_gpu_utilization": {"gpu_uuid"},
    "nv_gpu_memory_total_bytes": {"gpu_uuid"},
    "nv_gpu_memory_used_bytes": {"gpu_uuid"},
    "nv_gpu_power_usage": {"gpu_uuid"},
}
#: Made by Prometheus itself when it scrapes.
OF_PROMETHEUS = {"up": set()}
LABELS_OF_PROMETHEUS = {"job", "instance"}
SAMPLE = re.compile(r"^(?P<name>\w+)(?:\{(?P<labels>.*)\})? (?P<value>\S+)$")
LABEL = re.compile(r'(\w+)="([^"]*)"')


@dataclass
class Exported:
    """Values seen of each label of one metric."""

    labels: dict[str, set[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Use:
    """One metric in one expression: how it is selected, and the labels that are kept of it."""

    where: str
    metric: str
    selected: tuple[tuple[str, str, str], ...]
    labels: frozenset[str]


def parse_exposition(text: str) -> dict[str, Exported]:
    found: dict[str, Exported] = {}
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        match = SAMPLE.match(line)
        assert match, line
        metric = found.setdefault(match["name"], Exported())
        for name, value in LABEL.findall(match["labels"] or ""):
            metric.labels.setdefault(name, set()).add(value)
    return found


def expressions() -> Iterator[tuple[str, str, set[str]]]:
    """(where it stands, the expression, labels that its legend or text shows) of every query."""
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", []):
            shown = set(re.findall(r"\{\{\s*(\w+)\s*\}\}", target["legendFormat"]))
            yield f"panel '{panel['title']}'", target["expr"], shown
    for rule in alerts():
        shown = set(re.findall(r"\$labels\.(\w+)", str(rule["annotations"])))
        yield f"alert {rule['alert']}", rule["expr"], shown
    for variable in dashboard()["templating"]["list"]:
        match = re.fullmatch(r"label_values\((.+), (\w+)\)", variable.get("definition", ""))
        if match:
            yield f"variable ${variable['name']}", match[1], {match[2]}


def uses() -> list[Use]:
    found = []
    for where, expression, shown in expressions():
        text = expression.replace("$__rate_interval", "1m")
        nodes = list(walk(promql.parse(text)))
        kept = set(shown)
        for node in nodes:
            if isinstance(node, promql.AggregateExpr) and node.modifier is not None:
                kept |= set(node.modifier.labels)  # by (…)
            if isinstance(node, promql.BinaryExpr) and node.modifier and node.modifier.matching:
                kept |= set(node.modifier.matching.labels)  # on (…)
        for node in nodes:
            if isinstance(node, promql.VectorSelector):
                selected = tuple(
                    (m.name, str(m.op).rsplit(".", 1)[-1], m.value) for m in node.matchers.matchers
                )
                found.append(Use(where, node.name, selected, frozenset(kept)))
    return found


def walk(node: object) -> Iterator[object]:
    """The node and everything under it."""
    yield node
    for name in ("expr", "lhs", "rhs", "param", "vector_selector"):
        child = getattr(node, name, None)
        if child is not None:
            yield from walk(child)
    for child in getattr(node, "args", None) or []:
        yield from walk(child)


def complaint(use: Use, exported: dict[str, Exported]) -> str | None:
    """What of `use` no server exports; None where all of it is there."""
    if use.metric not in exported:
        near = ", ".join(
            sorted(name for name in exported if name.split("_")[1:2] == use.metric.split("_")[1:2])
        )
        return f"{use.where}: {use.metric} is not exported; there are {near or sorted(exported)}"
    labels = exported[use.metric].labels
    for name, kind, value in use.selected:
        if name in LABELS_OF_PROMETHEUS:
            continue
        if name not in labels:
            return f"{use.where}: {use.metric} has no label {name}; it has {sorted(labels)}"
        if not value.startswith("$") and value not in labels[name]:
            return f"{use.where}: {use.metric} has no {name} {kind} {value!r}; it has {sorted(labels[name])}"
    unknown = use.labels - labels.keys() - LABELS_OF_PROMETHEUS
    return f"{use.where}: {use.metric} has no label {sorted(unknown)}" if unknown else None


@pytest.fixture(scope="module")
def exported(server) -> dict[str, Exported]:
    with urllib.request.urlopen(f"http://{server.metrics_address}/metrics", timeout=10) as answer:
        return parse_exposition(answer.read().decode())


def test_every_metric_and_label_is_exported_by_a_real_server(exported, capsys):
    everything = uses()
    unproven = sorted({u.metric for u in everything if u.metric in GPU_METRICS and u.metric not in exported})
    if unproven:
        with capsys.disabled():
            print(f"\nnot compared, as this server has no GPU: {', '.join(unproven)}")
    known = dict(exported)
    for name, labels in (*GPU_METRICS.items(), *OF_PROMETHEUS.items()):
        known.setdefault(name, Exported({label: set() for label in labels}))
    complaints = [text for use in everything if (text := complaint(use, known))]
    assert complaints == []
    compared = {use.metric for use in everything} & exported.keys()
    assert len(compared) >= 14  # all but those four and `up`


def test_the_dashboard_shows_every_model_that_is_served(server, exported):
    assert exported["nv_inference_request_success"].labels["model"] == set(server.models)


@pytest.mark.parametrize(
    ("use", "reason"),
    [
        (Use("here", "nv_inference_request_total", (), frozenset()), "is not exported"),
        (Use("here", "nv_inference_count", (("reason", "Equal", "OTHER"),), frozenset()), "no label reason"),
        (Use("here", "nv_inference_request_failure", (("reason", "Equal", "LATE"),), frozenset()), "'LATE'"),
        (Use("here", "nv_cpu_utilization", (), frozenset({"model"})), "no label ['model']"),
        (
            Use("here", "nv_inference_request_summary_us", (("quantile", "Equal", "0.7"),), frozenset()),
            "'0.7'",
        ),
    ],
)
def test_what_is_not_exported_is_named(exported, use, reason):
    assert reason in str(complaint(use, exported))


def test_expressions_are_read_down_to_their_selectors():
    """Were the walk to stop early, nothing would be compared."""
    everything = uses()
    for where, expression, _ in expressions():
        named = set(re.findall(r"\b(?:nv|resonance)_\w+|\bup\b", expression))
        assert named, where
        assert named <= {use.metric for use in everything if use.where == where}, where


def test_units_fit_the_names():
    """A panel in µs shows a metric in µs, and a share is between two of one unit."""
    units = {"µs": "_us", "bytes": "_bytes", "watt": "power"}
    for panel in dashboard()["panels"]:
        unit = panel.get("fieldConfig", {}).get("defaults", {}).get("unit")
        for target in panel.get("targets", []):
            if unit in units:
                assert units[unit] in target["expr"], panel["title"]
