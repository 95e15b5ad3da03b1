"""What type checkers see of the generated code."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import resonance.v1.embedding_pb2 as pb

GENERATED = Path(pb.__file__).parent
METHODS = {method.name for method in pb.DESCRIPTOR.services_by_name["EmbeddingService"].methods}


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
