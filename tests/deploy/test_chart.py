"""The Helm chart: linted and rendered by Helm's own library, manifests held against Kubernetes' schemas."""

from __future__ import annotations

import os
import re
from typing import Any

import helm_python as helm
import kubernetes_validate
import pytest
import yaml

from resonance.clients.balancing import is_name_of_several
from resonance.serving.gateway.limits import GatewayLimits
from tests.deploy.files import CHART, alerts, read_yaml

#: The oldest that Chart.yaml takes, and the newest whose schemas are there.
KUBERNETES = ["1.27", "1.37"]
#: Kinds that Kubernetes does not know itself.
FOREIGN = {"ServiceMonitor", "PrometheusRule"}

#: What the chart does not render without.
DOORS: dict[str, Any] = {"tls": {"existingSecret": "pair"}, "tokens": {"existingSecret": "callers"}}
CHOICES: dict[str, dict[str, Any]] = {
    "defaults": {},
    "everything": {
        "autoscaling": {"enabled": True},
        "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
        "prometheusRule": {"enabled": True, "labels": {"release": "prometheus"}},
        "service": {"type": "LoadBalancer", "annotations": {"example.com/internal": "true"}},
        "exportOptions": "--checkpoint visual_encoder=/checkpoints/siglip-1",
        "extraVolumes": [
            {"name": "checkpoints", "persistentVolumeClaim": {"claimName": "weights", "readOnly": True}}
        ],
        "extraVolumeMounts": [{"name": "checkpoints", "mountPath": "/checkpoints", "readOnly": True}],
        "extraEnv": [{"name": "HF_HUB_OFFLINE", "value": "1"}],
        "image": {"repository": "registry.example/resonance", "tag": "0.1.1"},
        "imagePullSecrets": [{"name": "registry"}],
        "fingerprint": "a2fa8b2dde8c",
        "extraArgs": ["--log-file", "/tmp/triton.log"],  # noqa: S108 (of the container)
        "runtimeClassName": "nvidia",
        "priorityClassName": "serving",
        "podAnnotations": {"team": "media"},
        "nodeSelector": {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"},
        "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": {"app.kubernetes.io/name": "resonance"}},
            }
        ],
        "models": {"persistence": {"storageClass": "files"}},
        "tls": {"clientCa": True},
        "gatewayArgs": ["--otlp-endpoint=http://collector:4317"],
        "spool": {"storageClass": "fast", "sizeGi": 200},
        "networkPolicy": {
            "enabled": True,
            "from": [{"podSelector": {"matchLabels": {"role": "ingestion"}}}],
            "metricsFrom": [{"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}],
        },
    },
    "one replica on the CPU": {
        "target": "cpu",
        "replicaCount": 1,
        "gpu": {"count": 0},
        "models": {"persistence": {"accessModes": ["ReadWriteOnce"]}},
        "service": {"headless": False},
        "podDisruptionBudget": {"enabled": False},
    },
    "no volume": {"models": {"persistence": {"enabled": False}}},
    "in a mesh": {
        "tls": {"existingSecret": ""},
        "tokens": {"existingSecret": ""},
        "allowPlainText": True,
        "allowEverybody": True,
        "gatewayArgs": [],
        "networkPolicy": {"enabled": True},
    },
    "a volume that is there": {"models": {"persistence": {"existingClaim": "plans"}}},
}


def with_doors(values: dict[str, Any]) -> dict[str, Any]:
    return values | {name: door | values.get(name, {}) for name, door in DOORS.items()}


def render_files(values: dict[str, Any], name: str = "demo") -> dict[str, str]:
    values = with_doors(values)
    with helm.Chart.load(CHART) as chart:
        chart.validate_schema(values)
        return dict(chart.render(values, name=name, namespace="media"))


def render(values: dict[str, Any], name: str = "demo") -> list[dict[str, Any]]:
    """Manifests of `values`, with certificates and tokens unless they say otherwise."""
    return [
        document
        for file, text in render_files(values, name).items()
        if not file.endswith("NOTES.txt")
        for document in yaml.safe_load_all(text)
        if document
    ]


def one(manifests: list[dict[str, Any]], kind: str, name: str = "demo-resonance") -> dict[str, Any]:
    (found,) = [m for m in manifests if m["kind"] == kind and m["metadata"]["name"] == name]
    return found


def pod_of(manifests: list[dict[str, Any]]) -> dict[str, Any]:
    return dict(one(manifests, "Deployment")["spec"]["template"]["spec"])


@pytest.fixture(scope="module")
def manifests() -> list[dict[str, Any]]:
    return render({})


@pytest.mark.parametrize("choice", CHOICES)
def test_helm_lint_finds_nothing(choice):
    report = helm.lint(CHART, with_doors(CHOICES[choice]), strict=True)
    assert report["total_charts_linted"] == 1
    assert report["errors"] == []
    assert [m for m in report["messages"] if m["severity"] > 1] == []  # 1: an icon is recommended


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("choice", CHOICES)
def test_manifests_are_kubernetes_own(choice, version):
    manifests = render(CHOICES[choice])
    own = [m for m in manifests if m["kind"] not in FOREIGN]
    assert len(own) >= 2
    for manifest in own:
        kubernetes_validate.validate(manifest, version, strict=True)


def test_the_schema_would_notice_a_misspelt_key(manifests):
    deployment = one(manifests, "Deployment")
    spoiled = {**deployment, "spec": {**deployment["spec"], "replica": 2}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(spoiled, KUBERNETES[-1], strict=True)


def test_the_oldest_kubernetes_is_the_charts():
    assert read_yaml(CHART / "Chart.yaml")["kubeVersion"] == f">={KUBERNETES[0]}.0-0"


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"replicas": 3}, "replicas"),
        ({"target": "tpu"}, "target"),
        ({"drainSeconds": 0}, "drainSeconds"),
        ({"shmSize": "2"}, "shmSize"),
        ({"fingerprint": "latest"}, "fingerprint"),
        ({"service": {"type": "ExternalName"}}, "type"),
        ({"spool": {"sizeGi": "64Gi"}}, "sizeGi"),
        ({"tls": {"secret": "pair"}}, "secret"),
        ({"tmpSize": "16"}, "tmpSize"),
        ({"extraEnv": [{"value": "1"}]}, "name"),
        ({"extraVolumeMounts": [{"name": "weights"}]}, "mountPath"),
        ({"service": {"annotations": {"replicas": 3}}}, "annotations"),
    ],
)
def test_values_that_cannot_be_meant_are_refused(values, reason):
    with pytest.raises(helm.HelmError, match=reason):
        render(values)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (
            {"models": {"persistence": {"accessModes": ["ReadWriteOnce"]}}},
            "accessModes is .ReadWriteOnce., expected ReadWriteMany",
        ),
        ({"gpu": {"count": 0}}, "target gpu needs a GPU: gpu.count is 0"),
        (
            {"autoscaling": {"enabled": True, "minReplicas": 4, "maxReplicas": 2}},
            "maxReplicas is 2, expected at least minReplicas .4.",
        ),
        ({"tls": {"existingSecret": ""}}, "plain text: expected the name of a secret"),
        (
            {"tls": {"existingSecret": "", "clientCa": True}, "allowPlainText": True},
            "clientCa is true without",
        ),
        ({"tokens": {"existingSecret": ""}}, "everybody who reaches the gateway could call it"),
        ({"extraArgs": ["--target=cpu"]}, "extraArgs has --target=cpu, and models are exported for .* gpu"),
        ({"extraArgs": ["--target", "cpu"]}, "extraArgs has --target"),
        (
            {"extraEnv": [{"name": "RESONANCE_TARGET", "value": "cpu"}]},
            "extraEnv has RESONANCE_TARGET, which a value of this chart sets",
        ),
        (
            {"networkPolicy": {"enabled": True}, "serviceMonitor": {"enabled": True}},
            "metricsFrom is empty, and the policy would keep out the Prometheus",
        ),
        (
            {"prometheusRule": {"enabled": True, "leaveOut": ["ResonanceIsDown"]}},
            "leaveOut has ResonanceIsDown, expected some of ResonanceDown, ",
        ),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_installed(values, reason):
    with pytest.raises(helm.HelmError, match=reason):
        render(values)


def test_every_value_is_in_the_schema_and_every_word_of_the_schema_has_a_value():
    def names(schema: dict[str, Any], values: Any, where: str = "") -> None:
        if schema.get("additionalProperties", True) is False and "minProperties" not in schema:
            expected = schema["properties"].keys() - {"global"}  # Helm's own
            assert values.keys() == expected, where
            for name in expected:
                names(schema["properties"][name], values[name], f"{where}.{name}")

    with helm.Chart.load(CHART) as chart:
        assert chart.schema is not None
        names(chart.schema, chart.values)


def test_a_replica_is_ready_only_when_every_model_has_answered(manifests):
    (server,) = pod_of(manifests)["containers"]
    for probe in ("startupProbe", "readinessProbe"):
        assert server[probe]["exec"]["command"] == ["/opt/resonance/bin/ready.py"]
    assert server["livenessProbe"]["httpGet"] == {"path": "/metrics", "port": "metrics"}
    startup = server["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] >= 600  # Dockerfile: start-period
    names = {p["name"]: p["containerPort"] for p in server["ports"]}
    assert names == {"grpc": 8080, "metrics": 8081, "triton-metrics": 8002}


@pytest.mark.parametrize(("drain", "before"), [(30, 10), (300, 0)])
def test_there_is_time_to_drain(drain, before):
    pod = pod_of(render({"drainSeconds": drain, "preStopSeconds": before}))
    assert pod["terminationGracePeriodSeconds"] >= drain + before + 20
    (server,) = pod["containers"]
    serve, gateway = both(server)
    assert f"--drain-seconds={drain}" in serve
    assert not [word for word in gateway if word.startswith("--drain-seconds")]  # serve hands it on


def both(server: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Words of `resonance serve`, and of the gateway."""
    args = server["args"]
    border = args.index("--")
    return args[:border], args[border + 1 :]


def mounted(pod: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Volumes of the server by where they are."""
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    (server,) = pod["containers"]
    return {mount["mountPath"]: volumes[mount["name"]] for mount in server["volumeMounts"]}


def test_the_gateway_is_what_is_served(manifests):
    (server,) = pod_of(manifests)["containers"]
    serve, _ = both(server)
    assert serve[:2] == ["resonance", "serve"]
    assert {"--gateway", "--target=gpu"} <= set(serve)


def test_certificates_and_tokens_are_where_the_gateway_looks():
    pod = pod_of(render({"tls": {"clientCa": True}}))
    _, gateway = both(pod["containers"][0])
    named = dict(word.split("=", 1) for word in gateway)
    secrets = {path: v["secret"]["secretName"] for path, v in mounted(pod).items() if "secret" in v}
    assert secrets == {"/etc/resonance/tls": "pair", "/etc/resonance/tokens": "callers"}
    files = [named[name] for name in ("--tls-cert", "--tls-key", "--tls-client-ca", "--token-file")]
    # the keys of a secret of type kubernetes.io/tls, and ours
    assert files == [
        *(f"/etc/resonance/tls/{name}" for name in ("tls.crt", "tls.key", "ca.crt")),
        "/etc/resonance/tokens/tokens",
    ]
    assert "--insecure-anywhere" not in gateway


def test_plain_text_and_everybody_only_where_it_is_said():
    pod = pod_of(render(CHOICES["in a mesh"]))
    _, gateway = both(pod["containers"][0])
    assert "--insecure-anywhere" in gateway
    assert not [word for word in gateway if word.startswith(("--tls", "--token"))]
    assert not [v for v in mounted(pod).values() if "secret" in v]


@pytest.mark.parametrize(("size", "expected"), [(64, 60129542144), (1, 939524096)])
def test_the_spool_is_never_filled(size, expected):
    pod = pod_of(render({"spool": {"sizeGi": size}}))
    (server,) = pod["containers"]
    _, gateway = both(server)
    assert {f"--max-spool-bytes={expected}", f"--max-media-bytes={expected}"} <= set(gateway)
    assert expected < size * 1024**3  # a full emptyDir would evict the replica
    assert mounted(pod)["/spool"]["emptyDir"] == {"sizeLimit": f"{size}Gi"}
    assert server["resources"]["requests"]["ephemeral-storage"] == f"{size}Gi"


def test_the_spool_may_be_a_volume_of_its_own():
    pod = pod_of(render(CHOICES["everything"]))
    claim = mounted(pod)["/spool"]["ephemeral"]["volumeClaimTemplate"]["spec"]
    assert claim["storageClassName"] == "fast"
    assert claim["resources"]["requests"]["storage"] == "200Gi"
    assert "ephemeral-storage" not in pod["containers"][0]["resources"]["requests"]


def test_the_cores_that_are_asked_for_bound_what_is_let_in(manifests):
    """The gateway sees the node's."""
    (server,) = pod_of(manifests)["containers"]
    cores = int(server["resources"]["requests"]["cpu"])
    limits = GatewayLimits()
    seen = len(os.sched_getaffinity(0))
    _, gateway = both(server)
    for name in ("max_uploads", "max_queries", "max_segments_in_flight"):
        assert f"--{name.replace('_', '-')}={getattr(limits, name) // seen * cores}" in gateway


def test_nothing_but_the_gateway_gets_in():
    policy = one(render({"networkPolicy": {"enabled": True}}), "NetworkPolicy")["spec"]
    assert policy["policyTypes"] == ["Ingress"]
    assert policy["ingress"] == [{"ports": [{"port": "grpc"}]}]
    manifests = render(CHOICES["everything"])
    policy = one(manifests, "NetworkPolicy")["spec"]
    callers, metrics = policy["ingress"]
    assert (callers["ports"], len(callers["from"])) == ([{"port": "grpc"}], 1)
    assert metrics["ports"] == [{"port": "metrics"}, {"port": "triton-metrics"}]
    assert len(metrics["from"]) == 1
    labels = one(manifests, "Deployment")["spec"]["template"]["metadata"]["labels"]
    assert policy["podSelector"]["matchLabels"].items() <= labels.items()
    (server,) = pod_of(manifests)["containers"]
    named = {port["name"] for port in server["ports"]}
    assert {p["port"] for rule in policy["ingress"] for p in rule["ports"]} == named


def test_export_and_server_agree_on_what_names_the_folder(manifests):
    pod = pod_of(manifests)
    (export,), (server,) = pod["initContainers"], pod["containers"]
    assert export["args"] == ["export"]
    assert export["env"] == [e for e in server["env"] if e["name"] != "RESONANCE_FINGERPRINT"]
    for container in (export, server):
        assert container["resources"]["limits"]["nvidia.com/gpu"] == 1
        assert {"name": "models", "mountPath": "/models"}.items() <= container["volumeMounts"][0].items()


def test_no_gpu_is_asked_for_on_the_cpu():
    pod = pod_of(render(CHOICES["one replica on the CPU"]))
    for container in (*pod["initContainers"], *pod["containers"]):
        assert container["resources"]["limits"].keys() == {"memory"}


def test_shared_memory_is_memory_of_the_given_size(manifests):
    pod = pod_of(manifests)
    volumes = {v["name"]: v for v in pod["volumes"]}
    assert volumes["shm"]["emptyDir"] == {"medium": "Memory", "sizeLimit": "3Gi"}
    (server,) = pod["containers"]
    assert {"name": "shm", "mountPath": "/dev/shm"} in server["volumeMounts"]  # noqa: S108 (of the container)


def test_it_runs_without_rights(manifests):
    pod = pod_of(manifests)
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["automountServiceAccountToken"] is False
    for container in (*pod["initContainers"], *pod["containers"]):
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert any(mount["mountPath"] == "/tmp" for mount in container["volumeMounts"])  # noqa: S108


def test_services_select_the_replicas_and_the_headless_has_no_address():
    manifests = render(CHOICES["everything"])
    labels = one(manifests, "Deployment")["spec"]["template"]["metadata"]["labels"]
    services = [m for m in manifests if m["kind"] == "Service"]
    assert len(services) == 3
    for service in services:
        assert service["spec"]["selector"].items() <= labels.items()
    assert one(manifests, "Service", "demo-resonance-headless")["spec"]["clusterIP"] == "None"
    assert one(manifests, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"].items() <= labels.items()
    monitor = one(manifests, "ServiceMonitor")["spec"]
    scraped = [
        s for s in services if monitor["selector"]["matchLabels"].items() <= s["metadata"]["labels"].items()
    ]
    assert [s["metadata"]["name"] for s in scraped] == ["demo-resonance-metrics"]
    assert {e["port"] for e in monitor["endpoints"]} == {p["name"] for p in scraped[0]["spec"]["ports"]}
    # the job's name of the alerts
    assert labels[monitor["jobLabel"]] == "resonance"
    assert 'job=~"resonance|' in next(r["expr"] for r in alerts() if r["alert"] == "ResonanceDown")
    for service in services:
        assert {p["targetPort"] for p in service["spec"]["ports"]} <= {"grpc", "metrics", "triton-metrics"}


def test_the_rule_has_every_alert_as_it_is():
    rule = one(render(CHOICES["everything"]), "PrometheusRule")
    found = [alert for group in rule["spec"]["groups"] for alert in group["rules"]]
    assert found == alerts()  # templates of Prometheus in it are not Helm's
    assert rule["metadata"]["labels"]["release"] == "prometheus"


def test_alerts_can_be_left_out():
    left_out = ["ResonanceDown", "ResonanceCertificateExpires"]
    rule = one(render({"prometheusRule": {"enabled": True, "leaveOut": left_out}}), "PrometheusRule")
    found = [alert for group in rule["spec"]["groups"] for alert in group["rules"]]
    assert found == [alert for alert in alerts() if alert["alert"] not in left_out]
    assert len(found) == len(alerts()) - 2


def test_a_folder_of_checkpoints_is_in_both_containers():
    pod = pod_of(render(CHOICES["everything"]))
    for container in (*pod["initContainers"], *pod["containers"]):
        assert CHOICES["everything"]["extraVolumeMounts"][0] in container["volumeMounts"]
        assert CHOICES["everything"]["extraEnv"][0] in container["env"]
    assert CHOICES["everything"]["extraVolumes"][0] in pod["volumes"]
    bare = pod_of(render({}))
    assert {v["name"] for v in pod["volumes"]} == {v["name"] for v in bare["volumes"]} | {"checkpoints"}


def test_annotations_are_the_services_own():
    manifests = render(CHOICES["everything"])
    annotated = [m for m in manifests if m["kind"] == "Service" and m["metadata"].get("annotations")]
    assert [service["metadata"]["name"] for service in annotated] == ["demo-resonance"]
    assert annotated[0]["metadata"]["annotations"] == {"example.com/internal": "true"}


def test_notes_name_addresses_that_the_client_takes():
    (notes,) = [text for file, text in render_files({}).items() if file.endswith("NOTES.txt")]
    plain, headless = re.findall(r"--server grpc://([\w.:/-]*\w)", notes)
    assert plain == "demo-resonance.media:8080"
    assert headless == "dns:///demo-resonance-headless.media:8080"
    assert [is_name_of_several(address) for address in (plain, headless)] == [False, True]  # round_robin
    assert one(render({}), "Service", "demo-resonance-headless")["spec"]["ports"][0]["port"] == 8080


def test_what_is_written_beside_the_models_has_a_bound(manifests):
    volumes = {v["name"]: v for v in pod_of(manifests)["volumes"]}
    assert volumes["tmp"]["emptyDir"] == {"sizeLimit": "16Gi"}


def test_the_autoscaler_alone_decides_on_replicas():
    manifests = render(CHOICES["everything"])
    assert "replicas" not in one(manifests, "Deployment")["spec"]
    assert one(manifests, "HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]["name"] == "demo-resonance"
    assert one(render({}), "Deployment")["spec"]["replicas"] == 2


def test_the_volume_outlives_the_release(manifests):
    claim = one(manifests, "PersistentVolumeClaim", "demo-resonance-models")
    assert claim["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    volumes = {v["name"]: v for v in pod_of(manifests)["volumes"]}
    assert volumes["models"]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    given = render(CHOICES["a volume that is there"])
    assert not [m for m in given if m["kind"] == "PersistentVolumeClaim"]


def test_a_release_called_resonance_keeps_its_name():
    assert one(render({}, name="resonance"), "Deployment", "resonance")


def test_versions_are_the_projects_own():
    import resonance

    chart = read_yaml(CHART / "Chart.yaml")
    assert chart["appVersion"] == chart["version"] == resonance.__version__
    assert re.search(
        rf"RESONANCE_VERSION:-{resonance.__version__}", (CHART / "../../compose.yaml").read_text()
    )
