"""CUDA's headers and the driver's library are found where `nvcc` is a script and no stub is there."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from resonance.export.cuda_toolkit import (
    HEADERS,
    ToolkitError,
    check_python_header,
    find_home,
    find_library,
    use_toolkit,
)


def with_headers(home: Path) -> Path:
    """`home`, with the headers of a toolkit, all empty."""
    for header in HEADERS:
        (home / header).parent.mkdir(parents=True, exist_ok=True)
        (home / header).touch()
    return home


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """As in an image: two toolkits, of which one has headers; and on PATH a script called nvcc."""
    for name in ("CUDA_HOME", "CUDA_PATH", "LIBRARY_PATH", "LD_LIBRARY_PATH"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "cuda-12.9").mkdir()
    with_headers(tmp_path / "cuda-13.0")
    script = tmp_path / "bin" / "nvcc"
    script.parent.mkdir()
    script.write_text("#!/bin/sh\nexec nvcc-of-elsewhere\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{script.parent}{os.pathsep}{os.environ['PATH']}")
    return tmp_path


@pytest.fixture
def driver(tmp_path: Path) -> Path:
    """A library called libcuda.so.1 with one function, and no libcuda.so."""
    folder = tmp_path / "driver"
    folder.mkdir()
    source = folder / "driver.c"
    source.write_text("int cuInit(unsigned flags) { return 7; }\n")
    library = folder / "libcuda.so.1"
    subprocess.run(["gcc", "-shared", "-Wl,-soname,libcuda.so.1", "-o", library, source], check=True)
    return library


def test_the_toolkit_is_where_its_headers_are(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_home(installed) == installed / "cuda-13.0"
    named = installed / "named"
    monkeypatch.setenv("CUDA_HOME", str(named))
    assert find_home(installed) == installed / "cuda-13.0"  # what is named has no headers
    with_headers(named)
    assert find_home(installed) == named


def test_headers_that_include_others_which_are_not_there_are_no_toolkit(
    installed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As PyTorch's own wheels come: what is compiled would end at the first header that is missing."""
    shutil.rmtree(installed / "cuda-13.0")
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(installed / "wheels"))
    home = with_headers(installed / "wheels" / "nvidia" / "cu13")
    assert find_home(installed) == home
    shutil.rmtree(home / "include" / "crt")
    with pytest.raises(ToolkitError, match=r"cu13 lacks include/crt/host_defines\.h; .*nvidia-cuda-crt"):
        find_home(installed)


def test_a_machine_without_it_is_told_where_it_was_looked_for(
    installed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (installed / "cuda-13.0" / "include" / "cuda.h").unlink()
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(installed / "no wheels"))
    with pytest.raises(ToolkitError, match=r"cuda-13\.0 lacks include/cuda\.h.* CUDA_HOME"):
        find_home(installed)
    with pytest.raises(ToolkitError, match=r"no libcuda\.so in .* install NVIDIA's driver"):
        find_library(installed, [])


def test_a_stub_is_taken_and_else_a_driver_that_has_the_name(installed: Path, driver: Path) -> None:
    home = installed / "cuda-13.0"
    own = driver.with_name("libcuda.so")
    own.symlink_to(driver)
    assert find_library(home, [driver, own]) == driver.parent
    stubs = home / "lib64" / "stubs"
    stubs.mkdir(parents=True)
    (stubs / "libcuda.so").touch()
    assert find_library(home, [driver, own]) == stubs


def test_what_is_compiled_links_against_a_driver_that_lacks_the_name(
    installed: Path, driver: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a process of its own: variables of the environment, and a folder that goes with it."""
    program = installed / "program.c"
    program.write_text("#include <cuda.h>\nint cuInit(unsigned); int call(void) { return cuInit(0); }\n")
    shared = installed / "program.so"
    compile_it = (
        "import os, subprocess, sys\n"
        "from resonance.export.cuda_toolkit import use_toolkit\n"
        "use_toolkit()\n"
        "print(os.environ['LIBRARY_PATH'])\n"
        "include = os.environ['CUDA_HOME'] + '/include'\n"
        "gcc = ['gcc', '-shared', '-fPIC', '-Wl,-z,defs', '-I', include]\n"
        "sys.exit(subprocess.call([*gcc, *sys.argv[1:], '-lcuda']))\n"
    )
    monkeypatch.setenv("CUDA_HOME", str(installed / "cuda-13.0"))
    monkeypatch.setenv("LD_LIBRARY_PATH", str(driver.parent))
    done = subprocess.run(
        [sys.executable, "-c", compile_it, "-o", str(shared), str(program)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not Path(done.stdout.strip()).exists()  # the link was made for that process alone
    ctypes.CDLL(str(driver))
    assert ctypes.CDLL(str(shared)).call() == 7


def test_a_compiler_that_was_loaded_before_is_told_too(
    installed: Path, driver: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch.utils.cpp_extension as loaded

    monkeypatch.setattr(loaded, "CUDA_HOME", "/usr/local")
    monkeypatch.setenv("CUDA_HOME", str(installed / "cuda-13.0"))
    monkeypatch.setenv("LIBRARY_PATH", "/elsewhere")
    monkeypatch.setenv("LD_LIBRARY_PATH", str(driver.parent))
    use_toolkit()
    assert str(installed / "cuda-13.0") == loaded.CUDA_HOME
    assert os.environ["LIBRARY_PATH"].endswith(":/elsewhere")


def test_without_the_header_of_python_nothing_is_begun(
    installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_python_header()
    monkeypatch.setenv("CUDA_HOME", str(installed / "cuda-13.0"))
    monkeypatch.setattr(sysconfig, "get_path", lambda name, scheme=None: str(tmp_path))
    with pytest.raises(ToolkitError, match=rf"^{tmp_path} has no Python.h.*python3\.\d+-dev"):
        use_toolkit()
