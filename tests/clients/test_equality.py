"""Results that hold arrays are equal to themselves alone: arrays are compared element by element."""

from __future__ import annotations

import ast
from pathlib import Path

from resonance.clients.results import MediaEmbedding, QueryEmbedding
from tests.clients.gateway.broken_gateway import make_segment

ROOT = Path(__file__).parents[2]
MODULES = {
    str(path.relative_to(ROOT)): ast.parse(path.read_text())
    for folder in ("clients", "space")
    for path in sorted((ROOT / folder).rglob("*.py"))
}
#: NDArray and the names that modules give it, such as Vector.
ARRAYS = {"NDArray"} | {
    target.id
    for module in MODULES.values()
    for node in module.body
    if isinstance(node, ast.Assign) and "NDArray[" in ast.unparse(node.value)
    for target in node.targets
    if isinstance(target, ast.Name)
}


def holds_arrays(node: ast.ClassDef) -> bool:
    annotations = [each.annotation for each in node.body if isinstance(each, ast.AnnAssign)]
    names = [name for each in annotations for name in ast.walk(each) if isinstance(name, ast.Name)]
    return any(name.id in ARRAYS for name in names)


def test_a_segment_is_found_among_segments_and_counted_in_sets() -> None:
    first, second = make_segment(0), make_segment(0)
    assert first in (second, first)
    assert first not in (second,)
    assert len({first, second, first}) == 2
    for kind in (MediaEmbedding, QueryEmbedding):
        assert kind.__eq__ is object.__eq__
        assert kind.__hash__ is object.__hash__


def test_no_dataclass_compares_arrays() -> None:
    wrong = [
        f"{path}:{node.lineno} {node.name}: expected eq=False"
        for path, module in MODULES.items()
        for node in ast.walk(module)
        if isinstance(node, ast.ClassDef) and holds_arrays(node)
        for decorator in node.decorator_list
        if "dataclass" in (text := ast.unparse(decorator)) and "eq=False" not in text
    ]
    assert {"NDArray", "Vector"} < ARRAYS
    assert not wrong, "\n".join(wrong)
