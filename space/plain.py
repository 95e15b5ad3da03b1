"""Between frozen dataclasses and the JSON types they are written with, by their type hints.

`to_plain` and `from_plain` know dataclasses, tuples of one type, string mappings, `str`, `int`, `float`,
`bool` and `Any` (whatever JSON can hold). Every complaint starts with the path of the field.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import typing
from collections.abc import Mapping
from typing import Any

from resonance.space.errors import DescriptorError


def parse_json(text: str) -> Any:
    """JSON as RFC 8259 has it: no NaN, no infinity, and no name twice in an object.

    Raises:
        DescriptorError: it is not.
    """
    try:
        return json.loads(text, parse_constant=_no_constant, object_pairs_hook=_no_duplicates)
    except (json.JSONDecodeError, RecursionError) as error:
        raise DescriptorError(f"not JSON ({error})") from error
    except ValueError as error:  # an integer of more digits than Python converts
        if isinstance(error, DescriptorError):
            raise
        raise DescriptorError(f"not JSON that can be held ({error})") from error


def _no_constant(name: str) -> Any:
    raise DescriptorError(f"holds {name}, which is not JSON; expected finite numbers")


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise DescriptorError(f"field '{name}' stands twice in one object; expected it once")
        found[name] = value
    return found


def to_plain(value: Any) -> Any:
    """Dataclasses, mappings and tuples as objects and lists; everything else as it is."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: to_plain(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(v) for v in value]
    return value


def canonical_sha256(value: Any) -> str:
    """sha256, 64 hex digits, of the canonical JSON of what JSON can hold: names sorted, no spaces."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def from_plain(kind: Any, value: Any, where: str) -> Any:
    """`value` as `kind`.

    Raises:
        DescriptorError: a field is missing, unknown, or of the wrong type; the message has its path.
    """
    if kind is Any:
        return _anything(value, where)
    if dataclasses.is_dataclass(kind):
        return _dataclass(typing.cast("type[Any]", kind), value, where)
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin is tuple:
        items = _expect(list, value, where, "a list")
        return tuple(from_plain(args[0], v, f"{where}[{i}]") for i, v in enumerate(items))
    if origin is not None and issubclass(origin, Mapping):
        return {k: from_plain(args[1], v, f"{where}.{k}") for k, v in _object(value, where).items()}
    return _scalar(kind, value, where)


def build_fields(kind: type[Any], value: Any, where: str) -> dict[str, Any]:
    """The arguments of dataclass `kind`, from an object that has all required fields and no others."""
    given = _object(value, where)
    hints = typing.get_type_hints(kind)
    fields = {f.name: f for f in dataclasses.fields(kind)}
    unknown = sorted(given.keys() - fields.keys())
    if unknown:
        raise DescriptorError(
            f"{_at(where)}unknown field(s) {', '.join(unknown)}; known are {', '.join(fields)}"
        )
    optional = {
        n
        for n, f in fields.items()
        if f.default is not dataclasses.MISSING or f.default_factory is not dataclasses.MISSING
    }
    missing = [n for n in fields if n not in given and n not in optional]
    if missing:
        raise DescriptorError(f"{_at(where)}field(s) missing: {', '.join(missing)}")
    return {n: from_plain(hints[n], v, f"{where}.{n}" if where else n) for n, v in given.items()}


def _at(where: str) -> str:
    return f"{where}: " if where else ""


def _dataclass(kind: type[Any], value: Any, where: str) -> Any:
    return kind(**build_fields(kind, value, where))


def _expect(kind: type, value: Any, where: str, expected: str) -> Any:
    if not isinstance(value, kind):
        raise DescriptorError(
            f"{_at(where)}expected {expected}, came {type(value).__name__} ({_short(value)})"
        )
    return value


def _object(value: Any, where: str) -> dict[str, Any]:
    found: dict[Any, Any] = _expect(dict, value, where, "an object")
    for key in found:
        if type(key) is not str:
            raise DescriptorError(f"{_at(where)}a name is {key!r}; expected names that are strings")
    return found


def _scalar(kind: type, value: Any, where: str) -> Any:
    if kind is float and type(value) in (int, float):
        return _number(value, where)
    if type(value) is not kind:
        raise DescriptorError(
            f"{_at(where)}expected {kind.__name__}, came {type(value).__name__} ({_short(value)})"
        )
    return value


def _number(value: float, where: str) -> float:
    try:
        number = float(value)
    except OverflowError as error:
        raise DescriptorError(f"{where}: expected a number that a float can hold") from error
    if not math.isfinite(number):
        raise DescriptorError(f"{where}: expected a finite number, came {number}")
    return number


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _anything(value: Any, where: str) -> Any:
    if value is None or type(value) in (str, int, bool):
        return value
    if type(value) is float:
        return _number(value, where)
    if isinstance(value, list):
        return [_anything(v, f"{where}[{i}]") for i, v in enumerate(value)]
    if isinstance(value, dict):
        return {k: _anything(v, f"{where}.{k}") for k, v in _object(value, where).items()}
    raise DescriptorError(f"{where}: expected a JSON value, came {type(value).__name__}")
