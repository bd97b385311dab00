"""Many field ids in one driver call: nvmlDeviceGetFieldValues over one array that is used again."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any, Final, NamedTuple

import pynvml as nv

from collector import nvml
from collector.fields import Field
from collector.records import READINGS

LINKS: Final = "nvlinks_active"
_LINK_STATE: Final = int(nv.NVML_FI_DEV_NVLINK_GET_STATE)
_LINK_UP: Final = frozenset({1, 2})
"""NVML_NVLINK_STATE_ACTIVE and _SLEEP: a link that sleeps is well."""

_ABSENT: Final = nvml.ABSENT | {int(nv.NVML_ERROR_INVALID_ARGUMENT)}
"""All our arguments are constants: a driver that calls one invalid does not know that field or its scope."""

_WORDS: Final = ctypes.sizeof(nv.c_nvmlFieldValue_t) // 8
_STATUS: Final = nv.c_nvmlFieldValue_t.valueType.offset // 8
"""The word that holds valueType and, in its upper half, nvmlReturn. Little-endian, as every GPU host is."""
_VALUE: Final = nv.c_nvmlFieldValue_t.value.offset // 8

_BIT_ERROR_RATES: Final = frozenset({"nvlink5_effective_ber", "nvlink5_symbol_ber"})

_UINT64: Final = int(nv.NVML_VALUE_TYPE_UNSIGNED_LONG_LONG)
"""The status word of a success with the commonest type."""
_INT64_MAX: Final = 2**63 - 1

_Convert = Callable[[Any], object]

Values = list[Any]
"""One GPU's readings in the order of `records.READINGS`; each reader writes its own places."""


class _Place(NamedTuple):
    """Where a column's ids lie in the array, where its value goes, and how it gets our unit (None: as it is)."""

    first: int
    many: int
    at: int
    convert: _Convert | None


class FieldValues:
    """`columns` (sorted by `every_s`) of a GPU with `links` NVLinks.

    The ids of a shorter period come first, so that what is due is always the front of the array.
    """

    def __init__(self, columns: Sequence[Field], links: int) -> None:
        ids = [_ids(c, links) for c in columns]
        flat = [pair for pairs in ids for pair in pairs]
        self._array = (nv.c_nvmlFieldValue_t * len(flat))()
        for entry, (field_id, scope) in zip(self._array, flat, strict=True):
            entry.fieldId, entry.scopeId = field_id, scope
        self._words = memoryview(self._array).cast("B").cast("Q")
        ends = list(accumulate(map(len, ids)))
        self._places = [
            _Place((end - len(pairs)) * _WORDS, len(pairs), READINGS.index(c.name), _converter(c))
            for c, pairs, end in zip(columns, ids, ends, strict=True)
            if pairs
        ]
        self._front = {c.every_s: end for c, end in zip(columns, ends, strict=True)}
        self._call = nvml.function("nvmlDeviceGetFieldValues")

    def read(self, h: Any, values: Values, upto_s: float) -> int:
        """Read every column with `every_s` <= `upto_s` in one call. The first return code that is a failure."""
        count = self._front.get(upto_s, 0)
        code = self._call(h, count, self._array) if count else 0
        end = count * _WORDS
        if code:
            for place in self._places:
                if place.first < end:
                    values[place.at] = None
            return 0 if code in _ABSENT else int(code)
        return self._take(self._words[:end].tolist(), end, values)

    def _take(self, words: list[int], end: int, values: Values) -> int:
        failure = 0
        for first, many, at, convert in self._places:
            if first >= end:
                break
            if many > 1:
                values[at], code = self._several(words, first, many, convert)
            else:
                status, word = words[first + _STATUS], words[first + _VALUE]
                number = word if status == _UINT64 and word <= _INT64_MAX else _number(status, word)
                values[at] = number if convert is None or number is None else convert(number)
                code = status >> 32
            if code and code not in _ABSENT:
                failure = code if code in nvml.FATAL else failure or code
        return failure

    @staticmethod
    def _several(words: list[int], first: int, many: int, convert: _Convert | None) -> tuple[object, int]:
        """A column of several ids: null if one of them failed, or none is there."""
        entries = range(first, first + many * _WORDS, _WORDS)
        codes = [c for i in entries if (c := words[i + _STATUS] >> 32) not in _ABSENT]
        failed = next(filter(None, codes), 0)
        if failed or not codes:
            return None, failed
        numbers = [_number(words[i + _STATUS], words[i + _VALUE]) for i in entries]
        parts = [n for n in numbers if n is not None]
        return sum(parts) if convert is None else convert(parts), 0


def _ids(column: Field, links: int) -> list[tuple[int, int]]:
    if column.name == LINKS:
        return [(_LINK_STATE, link) for link in range(links)]
    return [(field_id, column.scope) for field_id in column.field_ids]


def _number(status: int, word: int) -> int | None:
    """The value of one entry by its type (the union is 8 bytes, and a shorter value leaves the rest as it was).

    No field of ours is a double: one of that type is a driver we do not know, and is null.
    """
    match status:
        case nv.NVML_VALUE_TYPE_UNSIGNED_LONG | nv.NVML_VALUE_TYPE_UNSIGNED_LONG_LONG:
            return nvml.known(word)
        case nv.NVML_VALUE_TYPE_UNSIGNED_INT:
            return nvml.known(word & 0xFFFFFFFF)
        case nv.NVML_VALUE_TYPE_SIGNED_LONG_LONG:
            return word - 2**64 if word >> 63 else word
        case nv.NVML_VALUE_TYPE_SIGNED_INT:
            low = word & 0xFFFFFFFF
            return low - 2**32 if low >> 31 else low
        case nv.NVML_VALUE_TYPE_UNSIGNED_SHORT:
            return word & 0xFFFF
    return None


def _converter(column: Field) -> _Convert | None:
    factor = column.factor
    if column.name == LINKS:
        return lambda states: sum(s in _LINK_UP for s in states)
    if column.name in _BIT_ERROR_RATES:
        return _bit_error_rate
    if column.type.startswith("float"):
        return lambda number: number * factor
    return None if factor == 1 else lambda number: int(number * factor)


def _bit_error_rate(packed: int) -> float:
    """NVML_NVLINK_ERROR_COUNTER_BER_GET: mantissa in bits 8-11, negative exponent of ten in bits 0-7."""
    return float((packed >> 8 & 0xF) * 10.0 ** -(packed & 0xFF))


def link_count(h: Any) -> int:
    """NVLinks of the GPU (field 91); 0 where it has none or would not say."""
    try:
        answer = nv.nvmlDeviceGetFieldValues(h, [nv.NVML_FI_DEV_NVLINK_LINK_COUNT])[0]
    except nv.NVMLError:
        return 0
    return min(int(answer.value.uiVal), int(nv.NVML_NVLINK_MAX_LINKS)) if answer.nvmlReturn == 0 else 0
