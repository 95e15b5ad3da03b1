"""The environment in which Triton is started."""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path

import pytest

from resonance.serving import binary

TRITON = binary.Triton(Path("bin"), Path("backends"), Path("caches"), Path("stub"))


@pytest.mark.parametrize("given", [{}, {"LD_LIBRARY_PATH": "/usr/local/cuda/compat"}])
def test_a_python_of_the_system_leaves_the_library_path_alone(monkeypatch, given):
    """As in NVIDIA's container, whose libraries for older drivers must stay first."""
    multiarch = sysconfig.get_config_var("MULTIARCH") or ""
    monkeypatch.setattr(binary, "find_libpython", lambda: Path("/usr/lib", multiarch))
    made = binary.server_environment(TRITON, given)
    assert made.get("LD_LIBRARY_PATH") == given.get("LD_LIBRARY_PATH")


@pytest.mark.parametrize(
    ("given", "expected"),
    [({}, "/opt/python/lib"), ({"LD_LIBRARY_PATH": "/mine"}, "/opt/python/lib:/mine")],
)
def test_any_other_python_has_its_library_found_first(monkeypatch, given, expected):
    monkeypatch.setattr(binary, "find_libpython", lambda: Path("/opt/python/lib"))
    assert binary.server_environment(TRITON, given)["LD_LIBRARY_PATH"] == expected


def test_a_folder_that_may_not_be_looked_into_is_passed_over(monkeypatch, tmp_path):
    """As the home folder of whom an interpreter was built by; here a name that the system refuses."""
    library = tmp_path / "lib" / f"libpython{binary.PYTHON}.so.1.0"
    library.parent.mkdir()
    library.touch()
    monkeypatch.setattr(sysconfig, "get_config_var", lambda name: "/x" * 4096)
    monkeypatch.setattr(sys, "base_prefix", str(tmp_path))
    assert binary.find_libpython() == library.parent
