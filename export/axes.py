"""The file of axes that a user edits: TOML, checked field by field."""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resonance.space.descriptor import AXIS_NAME, MEASURED_ARCS

DEFAULT_AXES = Path(__file__).parent / "families" / "axes.toml"
FIELDS = ("name", "low", "high")


class AxesFileError(ValueError):
    """A file of axes cannot be used; says which file, axis and field, what came and what was expected."""


@dataclass(frozen=True, slots=True)
class AxisPrompts:
    """A pair of ends in words: `low` is 0 and `high` is 1; the first prompt of each labels it.

    `where` is what complaints about it start with: its file and name.
    """

    name: str
    low: tuple[str, ...]
    high: tuple[str, ...]
    where: str


def read_axes(path: Path) -> tuple[AxisPrompts, ...]:
    """The axes of `path`, in its order; a file without any gives none.

    Raises:
        AxesFileError: it cannot be read, is no TOML, or an axis is incomplete or contradicts itself.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise AxesFileError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise AxesFileError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start})") from error
    except tomllib.TOMLDecodeError as error:
        raise AxesFileError(f"{path}: not TOML ({error})") from error
    unknown = sorted(data.keys() - {"axes"})
    if unknown:
        raise AxesFileError(f"{path}: unknown field(s) {', '.join(unknown)}; expected [[axes]] tables alone")
    tables = data.get("axes", [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise AxesFileError(f"{path}: axes is a {type(tables).__name__}; expected [[axes]] tables")
    axes = tuple(_axis(table, number, path) for number, table in enumerate(tables, start=1))
    for name, times in Counter(axis.name for axis in axes).items():
        if times > 1:
            raise AxesFileError(f"{path}: axis '{name}': stands {times} times; expected it once")
    return axes


def _axis(table: Mapping[str, Any], number: int, path: Path) -> AxisPrompts:
    name = table.get("name")
    where = f"{path}: axis {number}" if not isinstance(name, str) else f"{path}: axis '{name}'"
    unknown = sorted(table.keys() - {*FIELDS})
    if unknown:
        raise AxesFileError(f"{where}: unknown field(s) {', '.join(unknown)}; known are {', '.join(FIELDS)}")
    if not isinstance(name, str) or not AXIS_NAME.fullmatch(name):
        raise AxesFileError(
            f"{where}: name is {name!r}; expected small letters, digits and _, at most 32, a letter first"
        )
    if name in MEASURED_ARCS:
        raise AxesFileError(
            f"{where}: name is that of a measured arc; expected none of {', '.join(MEASURED_ARCS)}"
        )
    low, high = (_prompts(table.get(end), f"{where}: {end}") for end in ("low", "high"))
    both = sorted({*low} & {*high})
    if both:
        raise AxesFileError(f"{where}: high is {both[0]!r}, as low is; expected prompts of another meaning")
    return AxisPrompts(name, low, high, where)


def _prompts(value: object, where: str) -> tuple[str, ...]:
    if value is None:
        raise AxesFileError(f"{where} is missing; expected a list of prompts")
    if not isinstance(value, list) or not value:
        raise AxesFileError(f"{where} is {value!r}; expected a list of at least one prompt")
    prompts = []
    for prompt in value:
        if not isinstance(prompt, str) or not prompt.strip():
            raise AxesFileError(f"{where} holds {prompt!r}; expected prompts that are text")
        prompts.append(prompt.strip())
    if len({*prompts}) < len(prompts):
        raise AxesFileError(f"{where} holds a prompt twice; expected each once")
    return tuple(prompts)
