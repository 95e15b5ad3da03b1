#!/usr/bin/env -S python3 -I -S
"""Exit code 0 while this container takes requests: every model answers, and so does who takes the requests.

Triton alone calls itself ready before its models were asked anything, while they are dead or hang, and
while it is being stopped. `resonance serve --ready-file` has the file there only while each model answers.
A gateway is asked over HTTP for its metrics, which tell of each model what its grpc.health.v1 tells: its own
port may want TLS, a certificate of ours, or both, and Kubernetes' gRPC probe speaks neither. Without a
gateway Triton is asked whether it is ready.

With RESONANCE_FINGERPRINT a server of another space is not ready either, so that an upgrade which changes
the space stops at its first replica instead of mixing vectors that must not be compared.
"""

import os
import sys
import urllib.error
import urllib.request

EXPECTED = os.environ.get("RESONANCE_FINGERPRINT", "")
READY_FILE = os.environ.get("RESONANCE_READY_FILE", "/tmp/resonance-ready")  # noqa: S108 (of this container)
TIMEOUT_S = 3.0
#: What the server does without: `resonance.serving.decoder.SPARED_MODELS`, which cannot be imported here.
SPARED = ("keyframe_decoder",)


def main() -> int:
    """0, or 1 with one line that says what is missing."""
    try:
        with open(READY_FILE) as file:
            told = dict(word.split("=", 1) for word in file.readline().split()[1:])
        gateway = "gateway" in told
        path, asked = ("metrics", "metrics") if gateway else ("v2/health/ready", "http")
        address, served = told[asked], told.get("fingerprint", "none")
    except (OSError, KeyError, ValueError) as error:
        print(f"not ready: {READY_FILE} does not hold a ready line ({error})", file=sys.stderr)
        return 1
    if EXPECTED and EXPECTED[:12] != served:  # the line holds its first twelve characters
        print(
            f"not ready: the space's fingerprint is {served}, expected {EXPECTED[:12]} "
            "(RESONANCE_FINGERPRINT); deploy a new space beside the old one (docs/deploy.md)",
            file=sys.stderr,
        )
        return 1
    url = f"http://{address.replace('0.0.0.0', '127.0.0.1')}/{path}"  # noqa: S104 (compared with)
    try:
        # of this container: whatever proxy the environment names has no part in it
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(url, timeout=TIMEOUT_S) as answer:
            code, said = answer.status, answer.read().decode()
    except (urllib.error.URLError, OSError) as error:
        print(f"not ready: {url}: {error}", file=sys.stderr)
        return 1
    if code != 200:
        print(f"not ready: {url} answered {code}, expected 200", file=sys.stderr)
        return 1
    if gateway and (reason := models_fault(said)):
        print(f"not ready: {url}: {reason}", file=sys.stderr)
        return 1
    return 0


def models_fault(metrics: str) -> str:
    """What the gateway's metrics tell of models that do not serve; empty where all do that have to."""
    models = [
        line.split() for line in metrics.splitlines() if line.startswith("resonance_gateway_model_serving{")
    ]
    if not models:
        return "the gateway has asked no model yet"
    return ", ".join(
        f"{name} is {value}, expected 1"
        for name, value in models
        if float(value) != 1 and not any(f'"{spared}"' in name for spared in SPARED)
    )


if __name__ == "__main__":
    sys.exit(main())
