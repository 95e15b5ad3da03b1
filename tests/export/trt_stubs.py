"""Type stubs of TensorRT's Python API, made from its bindings without TensorRT.

The wheel tensorrt-cu13-bindings holds the whole API with its signatures, but its extension is linked
against libraries of some gigabytes, for which three empty ones with the symbols that it names stand in
here. Nothing can be built or run with them; the API can be read. The stubs are the vendor's and are never
committed.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path

LIBRARIES = ("nvinfer", "nvinfer_plugin", "nvonnxparser")
ENTRY_POINTS = (
    "createInferBuilder_INTERNAL",
    "createInferRefitter_INTERNAL",
    "createInferRuntime_INTERNAL",
    "createNvOnnxParserRefitter_INTERNAL",
    "createNvOnnxParser_INTERNAL",
    "getBuilderPluginRegistry",
    "getNvOnnxParserVersion",
    "getPluginRegistry",
    "initLibNvInferPlugins",
)


def make_stubs(folder: Path) -> Path:
    """A folder for MYPYPATH that holds `tensorrt`, made in `folder`.

    Raises:
        RuntimeError: there is no C compiler, or the bindings cannot be imported all the same.
    """
    bindings = _bindings()
    compiler = shutil.which("cc")
    if compiler is None:
        raise RuntimeError("TensorRT's API cannot be read without a C compiler: install the package gcc")
    major = _version(bindings).split(".")[0]
    copy = folder / "import" / bindings.name
    shutil.copytree(bindings, copy)  # the extension looks for its libraries beside itself first
    source = folder / "entry_points.c"
    source.write_text("".join(f"void *{name}(void) {{ return 0; }}\n" for name in ENTRY_POINTS))
    for library in LIBRARIES:
        name = f"lib{library}.so.{major}"
        _run([compiler, "-shared", "-fPIC", f"-Wl,-soname,{name}", "-o", copy / name, source], folder)
    generate = [sys.executable, "-m", "pybind11_stubgen", f"{bindings.name}.tensorrt", "-o", "raw"]
    generate += ["--ignore-all-errors"]  # of defaults that have no Python text
    _run(generate, folder, PYTHONPATH=str(copy.parent))
    check = CHECK_BUFFER.format(package=bindings.name)
    _run([sys.executable, "-c", check], folder, PYTHONPATH=str(copy.parent))
    package = folder / "stubs" / "tensorrt"
    package.mkdir(parents=True)
    text = (folder / "raw" / bindings.name / "tensorrt.pyi").read_text()
    (package / "__init__.pyi").write_text(_usable(text))
    return package.parent


#: Whether a plan in memory can be written to a file is no method, hence in no stub: the type is asked.
CHECK_BUFFER = """
import ctypes, {package} as trt
memory = trt.IHostMemory.__new__(trt.IHostMemory)
assert ctypes.pythonapi.PyObject_CheckBuffer(ctypes.py_object(memory)), "IHostMemory is no buffer"
"""
#: What the bindings' signatures print that is no Python, or means something else inside the stubs.
REPAIRS = (
    # the module has a `bool` of its own, a DataType, which its signatures do not mean
    (r"(->|: ?) ?bool\b(?= *[:,)=])", r"\1 builtins.bool"),
    (r"^from __future__ import annotations$", r"\g<0>\nimport builtins"),
    (r"\bin: ", "in_: "),
    (r"= None, channel_axis: typing\.SupportsInt\)", "= None, channel_axis: typing.SupportsInt = ...)"),
    # a type that is declared further down is printed as an ellipsis
    (r"(def get_error\(self, index: typing\.SupportsInt\)) -> \.\.\.:", r"\1 -> ParserError:"),
    (r"(def hardware_compatibility_level\(self\)) -> \.\.\.:", r"\1 -> HardwareCompatibilityLevel:"),
    (r"-> \.\.\.:", "-> typing.Any:"),
    (r"^class IHostMemory:$", "\\g<0>\n    def __buffer__(self, flags: int, /) -> memoryview: ..."),
)


def _usable(stubs: str) -> str:
    """The generated text, made readable for a type checker."""
    for pattern, replacement in REPAIRS:
        stubs = re.sub(pattern, replacement, stubs, flags=re.MULTILINE)
    return "# mypy: ignore-errors\n" + stubs + "\n__version__: str\n"  # of the package around the extension


def _bindings() -> Path:
    spec = importlib.util.find_spec("tensorrt_bindings")
    if spec is None or spec.origin is None:
        raise RuntimeError("tensorrt-cu13-bindings is not installed; run `make setup`")
    return Path(spec.origin).parent


def _version(bindings: Path) -> str:
    found = re.search(r'__version__ = "([\d.]+)"', (bindings / "__init__.py").read_text())
    if found is None:
        raise RuntimeError(f"{bindings}/__init__.py names no version")
    return found.group(1)


def _run(command: list[str | Path], folder: Path, **environment: str) -> None:
    done = subprocess.run(
        command, cwd=folder, env={"PATH": "/usr/bin:/bin", **environment}, capture_output=True, text=True
    )
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed: {(done.stderr or done.stdout)[-1000:]}")
