"""Constants that lie in a file beside an ONNX file: what torch.onnx.export writes by default."""

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import onnx
from onnx.external_data_helper import ExternalDataInfo, uses_external_data

from surefoot.artifact import read_file
from surefoot.errors import InputError

_HINT = "copy it there, or export the controller into one file (external_data=False)"


def embed_external_data(model: onnx.ModelProto, folder: Path | None, name: str) -> dict[str, bytes]:
    """Put the constants of other files into a model, and return those files by name.

    Args:
        model: The parsed model, changed in place.
        folder: Where the file lies; None where it came as bytes alone.
        name: How error messages call it.

    Raises:
        InputError: If a file is missing, or lies outside the folder, or is too short.
        IntegrityError: If it is too large.
    """
    files: dict[str, bytes] = {}
    for tensor in filter(uses_external_data, _tensors(model.graph)):
        label = f"{name}: constant {tensor.name!r}"
        place = _place_of(tensor, label)
        if place.location not in files:
            files[place.location] = _read(place.location, folder, label)
        _embed(tensor, place, files[place.location], label)
    return files


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t


def _place_of(tensor: onnx.TensorProto, label: str) -> ExternalDataInfo:
    """Locate the bytes of a constant in another file.

    Raises:
        InputError: If the file does not say it properly.
    """
    known = ("location", "offset", "length", "checksum")
    unknown = [entry.key for entry in tensor.external_data if entry.key not in known]
    try:
        if not unknown:
            return ExternalDataInfo(tensor)
    except ValueError as error:
        raise InputError(f"{label}: its place in another file is malformed: {error}") from error
    raise InputError(f"{label}: its place in another file names {unknown[0]!r}")


def _read(location: str, folder: Path | None, label: str) -> bytes:
    """Return the file at a location relative to a folder.

    Raises:
        InputError: If there is none, or it is outside.
    """
    parts = PurePosixPath(location).parts
    outside = not parts or parts[0] == "/" or ".." in parts or "\\" in location or "\0" in location
    if outside:
        raise InputError(f"{label} must lie in the folder of the file, names {location!r}")
    if folder is None:
        raise InputError(f"{label} lies in {location!r}, which is not known of bytes alone")
    path = folder.joinpath(*parts)
    if Path(os.path.realpath(path)) != Path(os.path.realpath(folder), *parts):
        raise InputError(f"{label} must lie in the folder of the file: {location!r} is a link")
    if not path.is_file():
        raise InputError(f"{label} lies in {location!r}, which is not beside the file: {_HINT}")
    return read_file(path)


def _embed(tensor: onnx.TensorProto, place: ExternalDataInfo, data: bytes, label: str) -> None:
    start = place.offset or 0
    end = len(data) if place.length is None else start + place.length
    if end > len(data) or start > len(data):
        raise InputError(
            f"{label} needs the bytes {start} to {end} of {place.location!r}, which has {len(data)}"
        )
    tensor.raw_data = data[start:end]
    del tensor.external_data[:]
    tensor.data_location = onnx.TensorProto.DEFAULT
