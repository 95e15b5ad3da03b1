"""Where the files of deploy/ are, and how the tests read them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent.parent
DEPLOY = ROOT / "deploy"
CHART = DEPLOY / "helm" / "resonance"
DASHBOARD = DEPLOY / "grafana" / "dashboards" / "resonance.json"
ALERTS = DEPLOY / "prometheus" / "alerts.yml"
ALERTS_TEST = ROOT / "tests" / "deploy" / "alerts_test.yml"


def read_yaml(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def dashboard() -> dict[str, Any]:
    return json.loads(DASHBOARD.read_text())


def alerts() -> list[dict[str, Any]]:
    return [rule for group in read_yaml(ALERTS)["groups"] for rule in group["rules"]]


def tracked(*folders: str) -> list[Path]:
    """Committed files, relative to the root; a checkout without git cannot tell."""
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        pytest.skip("which files are committed is asked of git; this is no checkout, or git is missing")
    done = subprocess.run(["git", "ls-files", *folders], cwd=ROOT, capture_output=True, text=True, check=True)
    return [Path(line) for line in done.stdout.splitlines()]


def promtool() -> Path:
    """Where `make promtool` puts it, or one that is installed."""
    found = shutil.which("promtool") or ROOT / "build" / "promtool"
    if not Path(found).exists():
        pytest.skip("promtool is not here and no Python package brings it; `make promtool` does, on Debian")
    return Path(found)


def tool(name: str) -> Path:
    """A command beside this Python."""
    path = Path(sys.executable).parent / name
    assert path.exists(), f"{name} is not in this environment; run `make setup`"
    return path
