"""Footers of Parquet files as nested dictionaries, to be changed and written again: Thrift's compact protocol.

A struct is `{number of field: (type, value)}`, a list `(type of its elements, elements)`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

Struct: TypeAlias = dict[int, tuple[int, Any]]
TRUE, FALSE, WHOLE, BINARY, LIST, STRUCT = 1, 2, (3, 4, 5, 6), 8, 9, 12


def change(file: Path, how: Callable[[Struct], bytes | None], body: bytes = b"") -> None:
    """Change the footer of a file, or put other bytes in its place; `body` is added before it."""
    content = file.read_bytes()
    length = struct.unpack("<I", content[-8:-4])[0]
    footer, _ = read_struct(content, len(content) - 8 - length)
    end = how(footer) or write_struct(footer)
    file.write_bytes(content[: -8 - length] + body + end + struct.pack("<I", len(end)) + b"PAR1")


def read_number(content: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = content[at]
        number |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return number, at


def read_value(content: bytes, at: int, kind: int) -> tuple[Any, int]:
    if kind in (TRUE, FALSE):
        return None, at
    if kind in WHOLE:
        number, at = read_number(content, at) if kind != WHOLE[0] else (content[at], at + 1)
        return (number if kind == WHOLE[0] else (number >> 1) ^ -(number & 1)), at
    if kind == BINARY:
        length, at = read_number(content, at)
        return content[at : at + length], at + length
    if kind == STRUCT:
        return read_struct(content, at)
    assert kind == LIST, kind
    inner, length, at = content[at] & 15, content[at] >> 4, at + 1
    if length == 15:
        length, at = read_number(content, at)
    elements = []
    for _ in range(length):
        element, at = read_value(content, at, inner)
        elements.append(element)
    return (inner, elements), at


def read_struct(content: bytes, at: int) -> tuple[Struct, int]:
    found: Struct = {}
    number = 0
    while content[at]:
        step, kind = content[at] >> 4, content[at] & 15
        assert step, "a long step, which no footer needs"
        number += step
        value, at = read_value(content, at + 1, kind)
        found[number] = kind, value
    return found, at + 1


def write_number(number: int) -> bytes:
    written = bytearray()
    while number >= 128:
        written.append(number & 127 | 128)
        number >>= 7
    return bytes([*written, number])


def write_value(kind: int, value: Any) -> bytes:
    if kind in (TRUE, FALSE):
        return b""
    if kind in WHOLE:
        return bytes([value]) if kind == WHOLE[0] else write_number((value << 1) ^ (value >> 63))
    if kind == BINARY:
        return write_number(len(value)) + value
    if kind == STRUCT:
        return write_struct(value)
    inner, elements = value
    return bytes([0xF0 | inner]) + write_number(len(elements)) + b"".join(write_value(inner, e) for e in elements)


def write_struct(fields: Struct) -> bytes:
    written, last = bytearray(), 0
    for number in sorted(fields):
        kind, value = fields[number]
        written += bytes([(number - last) << 4 | kind]) + write_value(kind, value)
        last = number
    return bytes(written) + b"\0"
