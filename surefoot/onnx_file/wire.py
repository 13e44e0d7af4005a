"""How much there is in an ONNX file, seen before it is parsed.

A parser makes an object of hundreds of bytes of an entry of two, so that a small file can take all
memory. Here the entries are counted on the wire, without any object.

Reference:
    protobuf.dev, "Encoding": tags, varints and length-delimited fields.
"""

from collections.abc import Iterator

import onnx
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from surefoot.errors import InputError
from surefoot.limits import MAX_FIELDS, MAX_VARINTS

_VARINT, _EIGHT_BYTES, _DELIMITED, _FOUR_BYTES = 0, 1, 2, 5
_MOST_VARINT_BYTES = 10
_FIXED = {_EIGHT_BYTES: 8, _FOUR_BYTES: 4}
_PACKED_VARINTS = {
    FieldDescriptor.TYPE_INT32,
    FieldDescriptor.TYPE_INT64,
    FieldDescriptor.TYPE_UINT64,
}


def require_light(data: bytes, name: str) -> None:
    """Check that a file has no more fields than a controller may have.

    Args:
        data: The file.
        name: How error messages call it.

    Raises:
        InputError: If it has more, or is no such file.
    """
    try:
        excess = _excess(data)
    except InputError as error:
        raise InputError(f"{name} is not a valid ONNX file: {error}") from error
    if excess is not None:
        raise InputError(f"{name} has more than the {excess} allowed")


def _excess(data: bytes) -> str | None:
    """Name what the message has too much of, or return None."""
    for number, varints in enumerate(_entries(data)):
        if number >= MAX_FIELDS:
            return f"{MAX_FIELDS} fields"
        if varints > MAX_VARINTS:
            return f"{MAX_VARINTS} integers that are not raw data"
    return None


def _entries(data: bytes) -> Iterator[int]:
    """Yield the number of packed integers of every field of every message, mostly 0.

    Raises:
        InputError: If a field reaches beyond the end, or is of an unknown kind.
    """
    inside: list[tuple[int, int, Descriptor]] = [(0, len(data), onnx.ModelProto.DESCRIPTOR)]
    while inside:
        at, end, message = inside.pop()
        while at < end:
            tag, at = _varint(data, at)
            number, kind = tag >> 3, tag & 7
            field = message.fields_by_number.get(number)
            varints = 0
            if kind == _VARINT:
                _, at = _varint(data, at)
            elif kind in _FIXED:
                at += _FIXED[kind]
            elif kind == _DELIMITED:
                size, at = _varint(data, at)
                if field is not None and field.message_type is not None:
                    inside.append((at, at + size, field.message_type))
                elif field is not None and field.type in _PACKED_VARINTS:
                    varints = size
                at += size
            else:
                raise InputError(f"a field of kind {kind}")
            if at > end:
                raise InputError("a field reaches beyond the end")
            yield varints


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Return the integer at a place, and the place behind it.

    Raises:
        InputError: If the file ends before, or it is longer than 64 bits.
    """
    value = 0
    for shift, byte in enumerate(data[at : at + _MOST_VARINT_BYTES]):
        value |= (byte & 127) << (7 * shift)
        if byte < 128:
            return value, at + shift + 1
    raise InputError("an integer that does not end")
