"""What can go wrong on the way to a plan, and the parser's complaints as text."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol


class TensorRTError(RuntimeError):
    """No usable plan could be made; the message says for which file, why, and what to do."""


class TensorRTMissingError(TensorRTError):
    """TensorRT, a GPU, or a package that prepares graphs is not there."""


class NodeError(Protocol):
    """One complaint of TensorRT's ONNX parser, as `tensorrt.ParserError` has it."""

    def desc(self) -> str:
        """What is wrong."""

    def node_name(self) -> str:
        """The ONNX node, empty where none is to blame."""

    def node_operator(self) -> str:
        """Its operator type."""


class Complaints(Protocol):
    """The error list of a parser, as `tensorrt.OnnxParser` has it."""

    @property
    def num_errors(self) -> int:
        """How many there are."""

    def get_error(self, index: int, /) -> NodeError:
        """One of them."""


def parser_complaints(parser: Complaints) -> Iterator[str]:
    """Each error as `operator node: description`, in the parser's order, every one once."""
    seen = set()
    for index in range(parser.num_errors):
        error = parser.get_error(index)
        where = " ".join(part for part in (error.node_operator(), error.node_name()) if part)
        line = f"{where or 'the graph'}: {' '.join(error.desc().split())}"
        if line not in seen:
            seen.add(line)
            yield line


def parse_failure(path: Path, parser: Complaints) -> TensorRTError:
    """All complaints about the graph at `path` as one error."""
    complaints = list(parser_complaints(parser))
    listed = "".join(f"\n  {line}" for line in complaints) or "\n  (no reason given)"
    return TensorRTError(f"{path}: TensorRT's parser refuses {len(complaints)} node(s):{listed}")
