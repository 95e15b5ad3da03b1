"""What type checkers see of the generated code."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf.descriptor import FileDescriptor

import resonance.v1.clip_pb2 as clip
import resonance.v1.embedding_pb2 as pb

GENERATED = Path(pb.__file__).parent
ROOT = Path(__file__).resolve().parents[3]
METHODS = {method.name for method in pb.DESCRIPTOR.services_by_name["EmbeddingService"].methods}


def test_the_generated_code_is_that_of_the_proto(tmp_path: Path) -> None:
    """By the commands of `make proto`."""
    rule = (ROOT / "Makefile").read_text().partition("\nproto:")[2].partition("\n\n")[0].replace("\\\n", " ")
    commands = [
        line.strip() for line in rule.splitlines() if "protoc" in line and not line.strip().startswith("#")
    ]
    assert len(commands) == 3
    for command in commands:
        here = command.replace("$(BIN)", str(Path(sys.executable).parent))
        here = re.sub(r"(_out=(?:\w+:)?)proto", rf"\g<1>{tmp_path}", here)
        subprocess.run(here, shell=True, check=True, cwd=ROOT)
    made = {path.name: path.read_bytes() for path in (tmp_path / "resonance" / "v1").iterdir()}
    assert len(made) >= 4
    for name, data in made.items():
        assert (GENERATED / name).read_bytes() == data, f"{name}: run `make proto`"


def test_the_package_says_that_it_is_typed() -> None:
    assert (GENERATED / "py.typed").exists()


@pytest.mark.parametrize("kind", ["Stub", "AsyncStub", "Servicer"])
def test_each_method_has_its_types(kind: str) -> None:
    stub = ast.parse((GENERATED / "embedding_pb2_grpc.pyi").read_text())
    (found,) = [n for n in stub.body if isinstance(n, ast.ClassDef) and n.name == f"EmbeddingService{kind}"]
    typed = {
        n.target.id for n in found.body if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)
    }
    typed |= {n.name for n in found.body if isinstance(n, ast.FunctionDef) and n.returns is not None}
    assert typed >= METHODS


@pytest.mark.parametrize("proto", [pb.DESCRIPTOR, clip.DESCRIPTOR], ids=lambda proto: str(proto.name))
def test_go_and_java_are_told_where_their_code_belongs(proto: FileDescriptor) -> None:
    """protoc-gen-go refuses a file without; in Java one class would hold all, in 40,000 lines."""
    options = proto.GetOptions()
    assert options.go_package == "resonance/v1;resonancev1"
    assert options.java_multiple_files
    assert options.java_outer_classname.endswith("Proto")
