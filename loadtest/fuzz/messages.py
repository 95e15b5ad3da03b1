"""Protobuf messages with values nobody would send on purpose, by way of the messages' descriptions."""

from __future__ import annotations

import math
from random import Random
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from resonance.loadtest.fuzz.mutate import CHANGES, Material

_DOUBLES = (
    *(math.nan, math.inf, -math.inf, -1.0, -0.0, 0.0, 1.0, 5e-324, 1e-9, 1e9, 3.15e8, 1e18, 1e300, 1.7e308),
    *(7.999999, 8.0, 8.000001, 86_400.0, 3.2e8, -1e-9),
)
_WHOLE = (0, 1, 2, 3, 7, 255, 1023, 1024, 1025, 4000, 16_000, 192_000, 192_001, 1 << 16, 1 << 20, 1 << 24)
_U32 = (*_WHOLE, (1 << 31) - 1, 1 << 31, (1 << 32) - 1)
_U64 = (*_U32, 1 << 32, 1 << 36, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)
_STRINGS = (
    *(
        "",
        " ",
        "\0",
        "a\nb",
        "\x1b[31mred",
        "../../etc/passwd",
        "犬" * 171,
        "x" * 512,
        "x" * 513,
        "‮",
        "\ud7ff",
    ),
    *(
        "x" * 70_000,
        "0" * 64,
        "f" * 64,
        "srt",
        "vtt",
        "ass",
        "%s%n",
        "{}",
        "a" * 300 + " " + "b" * 300,
        "\U0010ffff",
    ),
)
_TIMES = (1, 1, 2, 3, 17, 300)


def spoil(message: Message, random: Random, material: Material) -> None:
    """Change one field somewhere in `message`."""
    fields = message.DESCRIPTOR.fields
    if not fields:
        return
    field = random.choice(fields)
    if field.message_type is not None and not _is_map(field) and random.random() < 0.75:
        inner = _inner(message, field, random)
        if inner is not None:
            spoil(inner, random, material)
            return
    if _is_map(field):
        _spoil_map(message, field, random)
    elif field.is_repeated:
        _spoil_list(message, field, random, material)
    elif field.message_type is not None:
        _spoil_message(message, field, random)
    else:
        setattr(message, field.name, _value(field, random, material, getattr(message, field.name)))


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def _inner(message: Message, field: FieldDescriptor, random: Random) -> Message | None:
    """A message inside, where one is there; of a oneof mostly the member that is."""
    if field.is_repeated:
        held = getattr(message, field.name)
        return random.choice(held) if held else None
    oneof = field.containing_oneof
    if oneof is not None and (there := message.WhichOneof(oneof.name)) is not None and random.random() < 0.9:
        found = getattr(message, there)
        return found if isinstance(found, Message) else None
    return getattr(message, field.name) if message.HasField(field.name) else None


def _spoil_message(message: Message, field: FieldDescriptor, random: Random) -> None:
    if random.random() < 0.5:
        message.ClearField(field.name)
    else:
        getattr(message, field.name).SetInParent()


def _spoil_list(message: Message, field: FieldDescriptor, random: Random, material: Material) -> None:
    held = getattr(message, field.name)
    what = random.choice(("clear", "drop", "repeat", "turn", "set", "set"))
    if what == "clear" or not held:
        message.ClearField(field.name)
        if field.message_type is None and random.random() < 0.7:
            held.extend(_value(field, random, material, None) for _ in range(random.choice(_TIMES)))
        elif field.message_type is not None:
            for _ in range(random.choice(_TIMES)):
                held.add()
    elif what == "drop":
        del held[random.randrange(len(held))]
    elif what == "repeat":
        times = random.choice(_TIMES)
        held.extend([held[random.randrange(len(held))]] * times)
    elif what == "turn":
        kept = list(held)
        random.shuffle(kept)
        message.ClearField(field.name)
        held.extend(kept)
    elif field.message_type is None:
        at = random.randrange(len(held))
        held[at] = _value(field, random, material, held[at])
    else:
        spoil(random.choice(held), random, material)


def _spoil_map(message: Message, field: FieldDescriptor, random: Random) -> None:
    held = getattr(message, field.name)
    value = field.message_type.fields_by_name["value"]
    if random.random() < 0.2:
        held.clear()
        return
    for _ in range(random.choice((1, 1, 3, 400))):
        key = random.choice(
            (*list(held)[:4], "x", "", "motion", "pace", "k" * 200, str(random.randrange(10_000)))
        )
        if value.message_type is not None:
            inner = held[key]
            if "value" in inner.DESCRIPTOR.fields_by_name:
                inner.value = random.choice(_DOUBLES)
        elif value.cpp_type == FieldDescriptor.CPPTYPE_DOUBLE:
            held[key] = random.choice(_DOUBLES)


def _value(field: FieldDescriptor, random: Random, material: Material, now: Any) -> Any:
    kind = field.cpp_type
    if kind == FieldDescriptor.CPPTYPE_BOOL:
        return random.random() < 0.5
    if kind in (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT):
        return random.choice((*_DOUBLES, random.uniform(-10, 100)))
    if kind == FieldDescriptor.CPPTYPE_ENUM:
        return random.choice((-1, 0, 1, 2, 3, 4, 5, 6, 99, (1 << 31) - 1, -(1 << 31)))
    if field.type == FieldDescriptor.TYPE_STRING:
        return random.choice(_STRINGS)
    if field.type == FieldDescriptor.TYPE_BYTES:
        changed = bytearray(now or random.choice(material.samples).data[: 1 << 16])
        random.choice(CHANGES)[1](changed, random, material)
        return bytes(changed)
    most = _U64 if kind == FieldDescriptor.CPPTYPE_UINT64 else _U32
    return random.choice((*most, random.randrange(10_000)))
