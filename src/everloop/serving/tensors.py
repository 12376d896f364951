"""Tensors as the Open Inference Protocol writes them: in JSON, or as bytes behind it (the binary tensor extension)."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
import numpy as np

from everloop.serving.problem import Problem

__all__ = ["DATATYPES", "Tensor", "columns_of", "written"]

_NUMBERS: Final[Mapping[str, str]] = {
    "FP16": "<f2", "FP32": "<f4", "FP64": "<f8",
    "INT8": "i1", "INT16": "<i2", "INT32": "<i4", "INT64": "<i8",
    "UINT8": "u1", "UINT16": "<u2", "UINT32": "<u4", "UINT64": "<u8",
}  # fmt: skip
DATATYPES: Final = (*_NUMBERS, "BOOL", "BYTES")
_PLAIN: Final = (float, int, bool, str, type(None))


class Tensor(msgspec.Struct, frozen=True, kw_only=True):
    """A tensor of a request, as it says itself. data: nested or flat; left out where its bytes follow the JSON."""

    name: str
    shape: list[int]
    datatype: str
    parameters: dict[str, Any] | None = None
    data: list[Any] | msgspec.UnsetType = msgspec.UNSET

    @property
    def binary_size(self) -> int | None:
        """How many bytes of it follow the JSON; None where it is in the JSON."""
        size = (self.parameters or {}).get("binary_data_size")
        if size is not None and (type(size) is not int or size < 0):
            raise _wrong(self, f"binary_data_size is {size!r:.40} and not a number of bytes")
        return size


def columns_of(tensor: Tensor, raw: bytes | None) -> list[list[Any]]:
    """Its values by column, each of the length of the first dimension: of shape [n] or [n, 1] one column, else k.

    raw: its bytes, where they came so. A NaN is None, for the protocol has no other way to leave a number out.
    Raises Problem.
    """
    if tensor.datatype not in DATATYPES:
        raise _wrong(tensor, f"datatype {tensor.datatype!r:.40} is not one of {', '.join(DATATYPES)}")
    if len(tensor.shape) not in (1, 2) or any(side < 0 for side in tensor.shape):
        raise _wrong(tensor, f"shape {str(tensor.shape)[:60]} is not [rows], [rows, 1] or [rows, columns]")
    width = tensor.shape[1] if len(tensor.shape) == 2 else 1
    flat = _flat(tensor) if raw is None else _read(tensor, raw)
    if len(flat) != tensor.shape[0] * width:
        raise _wrong(
            tensor, f"shape {tensor.shape} is {tensor.shape[0] * width:,} values and the data are {len(flat):,}"
        )
    return [flat[place::width] for place in range(width)]


def _flat(tensor: Tensor) -> list[Any]:
    """The values of JSON in one list, also where they are lists of lists."""
    if isinstance(tensor.data, msgspec.UnsetType):
        raise _wrong(tensor, "it has neither data nor binary_data_size")
    flat = tensor.data
    for _ in tensor.shape[1:]:
        if flat and all(type(part) is list for part in flat):
            flat = [value for part in flat for value in part]
    if not all(type(value) in _PLAIN for value in flat):
        raise _wrong(tensor, f"its data are not values, flat or nested as shape {tensor.shape} says")
    return flat


def _read(tensor: Tensor, raw: bytes) -> list[Any]:
    if tensor.datatype == "BYTES":
        return _texts(tensor, raw)
    dtype = np.dtype(_NUMBERS.get(tensor.datatype, "u1"))
    if len(raw) % dtype.itemsize:
        raise _wrong(tensor, f"{len(raw):,} bytes are no whole number of {tensor.datatype} values")
    values = np.frombuffer(raw, dtype)
    if tensor.datatype == "BOOL":
        if len(values) and values.max() > 1:
            raise _wrong(tensor, "a BOOL is a byte of 0 or 1")
        truths: list[Any] = values.astype(bool).tolist()
        return truths
    found: list[Any] = values.tolist()
    if dtype.kind == "f" and np.isnan(values).any():
        return [None if value != value else value for value in found]
    return found


def _texts(tensor: Tensor, raw: bytes) -> list[str]:
    """Texts, each behind its length in 4 bytes."""
    found: list[str] = []
    at = 0
    while at < len(raw):
        end = at + 4 + int.from_bytes(raw[at : at + 4], "little")
        if end > len(raw):
            raise _wrong(tensor, f"its bytes end within value {len(found)}")
        try:
            found.append(raw[at + 4 : end].decode())
        except UnicodeDecodeError as error:
            raise _wrong(tensor, f"value {len(found)} is not UTF-8: {error.reason}") from error
        at = end
    return found


def written(datatype: str, values: Sequence[Any]) -> bytes:
    """The bytes of values: texts each behind its length."""
    if datatype == "BYTES":
        encoded = [value.encode() for value in values]
        return b"".join(part for one in encoded for part in (struct.pack("<I", len(one)), one))
    return np.array(values, dtype=_NUMBERS[datatype]).tobytes()


def _wrong(tensor: Tensor, detail: str) -> Problem:
    return Problem(400, "bad-tensor", f"input {tensor.name[:60]!r}: {detail}")
