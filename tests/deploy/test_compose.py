"""The compose file, Prometheus' and Grafana's: held against schemas, each other and the server's needs."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import promql_parser as promql
import pytest

from resonance.serving import shm
from resonance.serving.repository import read_repository
from tests.deploy.files import (
    ALERTS,
    ALERTS_TEST,
    CHART,
    DEPLOY,
    ROOT,
    alerts,
    dashboard,
    promtool,
    read_yaml,
    tool,
)

COMPOSE = DEPLOY / "compose.yaml"
TLS = DEPLOY / "compose.tls.yaml"
PROMETHEUS = DEPLOY / "prometheus" / "prometheus.yml"
#: What the largest sampling of the contract sends: 16 frames a segment.
FRAMES = 16
GIB = 1024**3


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    return dict(read_yaml(COMPOSE)["services"])


def schema_complaints(path: Path) -> str:
    command = [tool("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", path]
    done = subprocess.run(command, capture_output=True, text=True)
    return "" if done.returncode == 0 else done.stdout + done.stderr


@pytest.mark.parametrize("path", [COMPOSE, TLS], ids=["compose", "tls"])
def test_it_is_a_compose_file(path):
    assert schema_complaints(path) == ""


def test_the_schema_would_notice_a_misspelt_key(tmp_path):
    spoiled = tmp_path / "compose.yaml"
    spoiled.write_text(COMPOSE.read_text().replace("shm_size:", "shm-size:"))
    assert "shm-size" in schema_complaints(spoiled)


def test_ports_are_bound_to_loopback(services):
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert len(ports) == 3
    assert [port for port in ports if not port.startswith("127.0.0.1:")] == []
    assert services["server"]["ports"] == ["127.0.0.1:8080:8080"]  # the gateway; Triton never


def test_beyond_loopback_only_with_certificates_and_tokens(services):
    (override,) = read_yaml(TLS)["services"].values()
    assert override.keys() == {"command", "secrets", "ports"}
    assert override["ports"] == ["8443:8080"]
    named = {word.split("=/run/secrets/")[0]: word for word in override["command"] if "/run/secrets/" in word}
    assert named.keys() == {"--tls-cert", "--tls-key", "--token-file"}
    secrets = read_yaml(TLS)["secrets"]
    assert sorted(word.split("/")[-1] for word in named.values()) == sorted(secrets)
    assert sorted(override["secrets"]) == sorted(secrets)
    for secret in secrets.values():
        assert ":?" in secret["file"]  # compose ends with the text after it
    # Otherwise the two are one command.
    plain = [word for word in services["server"]["command"] if word != "--insecure-anywhere"]
    assert plain == [word for word in override["command"] if word not in named.values()]
    assert "--insecure-anywhere" in services["server"]["command"]


def option(command: list[str], name: str) -> str:
    (value,) = [word.split("=", 1)[1] for word in command if word.startswith(f"{name}=")]
    return value


def test_the_spool_of_compose_and_chart_has_one_bound(services):
    bound = option(services["server"]["command"], "--max-spool-bytes")
    assert option(services["server"]["command"], "--max-media-bytes") == bound  # larger ones can never pass
    assert int(bound) == read_yaml(CHART / "values.yaml")["spool"]["sizeGi"] * GIB * 7 // 8


def test_images_are_pinned(services):
    for name, service in services.items():
        tag = service["image"].rsplit(":", 1)[1]
        assert re.search(r"\d+\.\d+", tag), f"{name}: {service['image']}"


def test_no_password_stands_in_a_file(services):
    password = services["grafana"]["environment"]["GF_SECURITY_ADMIN_PASSWORD"]
    assert password.startswith("${GRAFANA_PASSWORD:?")  # compose ends with the text after it
    for path in DEPLOY.rglob("*"):
        if path.is_file() and path != COMPOSE:
            assert not re.search(r"(?i)password", path.read_text()), path


def test_files_that_are_mounted_are_there(services):
    mounted = [v.split(":")[0] for s in services.values() for v in s.get("volumes", []) if v[0] == "."]
    assert len(mounted) == 3
    assert [m for m in mounted if not (DEPLOY / m).is_dir()] == []
    named = {v.split(":")[0] for s in services.values() for v in s.get("volumes", []) if v[0] != "."}
    assert named == read_yaml(COMPOSE)["volumes"].keys()


def test_builds_name_stages_of_the_dockerfile(services):
    text = (DEPLOY / "Dockerfile").read_text()
    for name in ("models", "server"):
        build = services[name]["build"]
        assert (DEPLOY / build["context"]).resolve() == ROOT
        assert (ROOT / build["dockerfile"]).is_file()
        assert f" AS {build['target']}\n" in text


def test_models_and_server_agree_on_what_names_the_folder(services):
    """Otherwise the server would look for a folder that the export did not make."""
    own = {"RESONANCE_FINGERPRINT"}  # asked by the readiness alone
    server = dict(services["server"]["environment"])
    assert server.keys() - services["models"]["environment"].keys() <= own
    for name, value in services["models"]["environment"].items():
        assert server.get(name, value) == value
    assert "RESONANCE_TARGET" in services["models"]["environment"]


def test_models_are_made_for_the_target_that_is_served(services):
    made_for = services["server"]["environment"]["RESONANCE_TARGET"]
    for command in (services["server"]["command"], read_yaml(TLS)["services"]["server"]["command"]):
        assert option(command, "--target") == made_for


def test_the_grace_period_is_longer_than_the_drain(services):
    command = services["server"]["command"]
    drain_s = float(option(command, "--drain-seconds"))
    assert int(services["server"]["stop_grace_period"].removesuffix("s")) >= drain_s + 20


@pytest.mark.parametrize(("target", "at_least"), [("gpu", 2 * GIB), ("cpu", GIB), ("aoti", 2 * GIB)])
def test_shared_memory_holds_full_batches_in_every_process(services, target, at_least):
    needed = 0
    for model in read_repository(ROOT / "model_repository", target):
        if model.is_ensemble:
            continue
        frames = any(t.name == "FRAMES" for t in (*model.config.input, *model.config.output))
        item = model.item_bytes() * (FRAMES if frames else 1)
        batch = item * max(1, model.config.max_batch_size)
        needed += model.instances * (shm.REGION_BYTES + shm.BATCHES_HELD * batch)
    assert services["server"]["shm_size"] == "3gb"
    assert read_yaml(CHART / "values.yaml")["shmSize"] == "3Gi"
    assert at_least < needed < 3 * GIB  # less would not do


def test_prometheus_scrapes_the_server_and_reads_the_alerts(services):
    config = read_yaml(PROMETHEUS)
    assert config.keys() == {"global", "rule_files", "scrape_configs"}
    jobs = {job["job_name"]: job for job in config["scrape_configs"]}
    scraped = {name: job["static_configs"][0]["targets"] for name, job in jobs.items()}
    # what `resonance gateway` and `resonance serve` have for metrics by default
    assert scraped == {"resonance-gateway": ["server:8081"], "resonance": ["server:8002"]}
    assert "server" in services
    for job in jobs.values():
        assert job.get("metrics_path", "/metrics") == "/metrics"
        (rule,) = job["relabel_configs"]  # one replica, one instance
        for target in job["static_configs"][0]["targets"]:
            match = re.fullmatch(rule["regex"], target)
            assert match
            assert match[1] == "server"
    assert [PROMETHEUS.parent / name for name in config["rule_files"]] == [ALERTS]
    asked = [jobs for rule in alerts() for jobs in re.findall(r'up\{job=~"(.*?)"', rule["expr"])]
    assert len(asked) == 5
    assert {frozenset(names.split("|")) for names in asked} == {frozenset(jobs)}


def test_promtool_accepts_the_configuration_and_the_alerts():
    done = subprocess.run([promtool(), "check", "config", PROMETHEUS], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_fires_when_it_should_and_is_silent_when_it_should():
    done = subprocess.run([promtool(), "test", "rules", ALERTS_TEST], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_tests_of_the_alerts_leave_none_out():
    told = read_yaml(ALERTS_TEST)
    assert [(ALERTS_TEST.parent / file).resolve() for file in told["rule_files"]] == [ALERTS]
    cases = [case for test in told["tests"] for case in test.get("alert_rule_test", [])]
    names = {rule["alert"] for rule in alerts()}
    assert {case["alertname"] for case in cases if case["exp_alerts"]} == names
    assert {case["alertname"] for case in cases if not case["exp_alerts"]} == names


def test_alerts_are_complete_and_can_be_read():
    assert len(alerts()) >= 19
    assert len({rule["alert"] for rule in alerts()}) == len(alerts())
    for rule in alerts():
        assert rule.keys() == {"alert", "expr", "for", "labels", "annotations"}, rule
        assert rule["labels"]["severity"] in ("critical", "warning")
        promql.parse(rule["expr"])


def test_grafana_finds_its_source_and_its_dashboard(services):
    provisioning = DEPLOY / "grafana" / "provisioning"
    (source,) = read_yaml(provisioning / "datasources" / "prometheus.yaml")["datasources"]
    assert source["url"] == "http://prometheus:9090"
    assert "prometheus" in services
    (provider,) = read_yaml(provisioning / "dashboards" / "resonance.yaml")["providers"]
    assert f"./grafana/dashboards:{provider['options']['path']}:ro" in services["grafana"]["volumes"]
    chosen = {v["name"]: v for v in dashboard()["templating"]["list"]}
    assert chosen["datasource"]["current"]["value"] == source["uid"]


def test_the_dashboard_is_whole():
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = set()
    for panel in panels:
        grid = panel["gridPos"]
        assert grid["x"] + grid["w"] <= 24, panel["title"]
        cells = {
            (x, y)
            for x in range(grid["x"], grid["x"] + grid["w"])
            for y in range(grid["y"], grid["y"] + grid["h"])
        }
        assert not places & cells, f"{panel['title']} lies over another panel"
        places |= cells
    names = {v["name"] for v in dashboard()["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", str(panels))) - {"__rate_interval"}
    assert used == names
