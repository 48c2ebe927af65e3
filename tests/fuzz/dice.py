"""Valid payloads made hostile, every decision read from a string of bytes.

The same bytes make the same payload, so hypothesis can shrink them, atheris can grow them, and a plain loop can throw
them. Bytes that have run out count as zero, and zero means: leave it as it is.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, TypeVar

T = TypeVar("T")


class Token(bytes):
    """JSON text that stands for itself, valid or not."""


class Members(list[tuple[str, Any]]):
    """An object as its members, so that a name can come twice."""


_NINES = b"9" * 5_000
HOSTILE: tuple[bytes, ...] = (
    b"null", b"true", b"false", b'""', b'"x"', b"[]", b"{}", b"[[]]", b"[null]", b'[""]', b"[{}]", b'{"":null}',
    # numbers, and texts that hold them
    b"0", b"-0", b"-0.0", b"1", b"-1", b"0.5", b"1.5", b"1e3", b"1E+2", b"1e-7", b"0.0000001", b"1e22", b"1e308", b"1e400",
    b"-1e400", b"1e-400", b"0.30000000000000004", b"5.0000000001", b"999999.1234567", b"123456789012.123456", b"12345678901.1234567",
    b"9007199254740993", b"9223372036854775807", b"9223372036854775808", b"-9223372036854775809", b"18446744073709551616",
    b"1" + b"0" * 30, b"-1" + b"0" * 30, _NINES, b"0." + _NINES, b"NaN", b"Infinity", b"-Infinity", b"01", b"1.", b".5", b"+1", b"0x10",
    b'"0"', b'"-0"', b'"0.5"', b'"0.53"', b'"1"', b'"1.0"', b'"10"', b'"1.00001"', b'"0.00005"', b'"0.9999"', b'"0.0000001"', b'"-1"',
    b'"-0.01"', b'"--1"', b'"+1"', b'".5"', b'"5."', b'"."', b'"-"', b'" 1"', b'"1 "', b'"1_0"', b'"1e3"', b'"1e400"', b'"0x10"',
    b'"NaN"', b'"nan"', b'"inf"', b'"-Infinity"', b'"1,000"', b'"5.0000000001"', b'"999999.1234567"', b'"4611686018427.387904"',
    b'"4611686018427.387903"', b'"9223372036854.775807"', b'"1' + b"0" * 30 + b'"', b'"' + _NINES + b'"',
    b'"0.' + b"0" * 5_000 + b'"', '"１"'.encode(), '"²"'.encode(), '"٣.٥"'.encode(), b'"1e999999999"', b"1e999999999",
    # texts
    b'"\\u0000"', b'"\\ud800"', b'"\\udc00\\ud800"', b'"\\ud83d\\ude00"', b'"\xff"', b'"\xed\xa0\x80"', b'"\xc0\x80"', b'"\\x"', b'"a\nb"',
    b'"\\n"', b'"' + b"a" * 5_000 + b'"', '"\u2028\u0085"'.encode(), b'"%s%d{0}"', b'"../../x"', b'"YES"', b'"no"', b'"BUY"', b'"SELL"',
    # times
    b'"9999-12-31T23:59:59.999999-23:59"', b'"0001-01-01T00:00:00+23:59"', b'"0001-01-01T00:00:00Z"', b'"2026-02-30T00:00:00Z"',
    b'"2026-03-08T02:30:00"', b'"2026-W10"', b'"24:00"', b'"25:61"', b'"00:00"', b'"03:00+05:00"', b'"2026-01-01"', b'"T"',
    # depth
    b"[" * 50 + b"]" * 50, b"[" * 3_000 + b"]" * 3_000, b"[" * 3_000, b'{"a":' * 3_000 + b"1" + b"}" * 3_000,
)  # fmt: skip


class Dice:
    """Decisions out of bytes."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def below(self, n: int) -> int:
        """A number from 0 to ``n - 1``; 0 when the bytes have run out."""
        if n <= 1:
            return 0
        width = 1 if n <= 256 else 2
        taken = self._data[self._at : self._at + width]
        self._at += width
        return int.from_bytes(taken, "big") % n

    def pick(self, items: Sequence[T]) -> T:
        return items[self.below(len(items))]

    def rest(self) -> bytes:
        rest, self._at = self._data[self._at :], len(self._data)
        return rest


def members(value: Any) -> Any:
    """A JSON value with its objects as members."""
    if isinstance(value, dict):
        return Members((name, members(below)) for name, below in value.items())
    return [members(item) for item in value] if isinstance(value, list) else value


def written(value: Any) -> bytes:
    if isinstance(value, Token):
        return bytes(value)
    if isinstance(value, Members):
        return b"{" + b",".join(json.dumps(name).encode() + b":" + written(below) for name, below in value) + b"}"
    if isinstance(value, list):
        return b"[" + b",".join(map(written, value)) + b"]"
    return json.dumps(value, ensure_ascii=False).encode()


def hostile(dice: Dice, valid: Any) -> bytes:
    """A JSON value, changed in some places as the dice say, as bytes."""
    value = members(valid)
    for _ in range(dice.below(5)):
        value = _changed(dice, value)
    data = written(value)
    match dice.below(16):
        case 15:
            return data[: dice.below(len(data) + 1)]
        case 14:
            at = dice.below(len(data) or 1)
            return data[:at] + bytes([dice.below(256)]) + data[at + 1 :]
        case 13:
            at = dice.below(len(data) or 1)
            return data[:at] + dice.rest() + data[at:]
        case 12:
            return data.replace(b",", b" ,\n")
        case 11:
            return b" \n" + data + b"\n"
        case 10:
            return b"\xef\xbb\xbf" + data
        case 9:
            return b"[" + data + b"," + data + b"]"
        case _:
            return data


def _changed(dice: Dice, value: Any) -> Any:
    """The value with one of its places changed."""
    places = list(_places(value))
    if not places:
        return Token(dice.pick(HOSTILE))
    holder, at = places[dice.below(len(places))]
    if isinstance(holder, Members):
        name, old = holder[at]
    else:
        name, old = "", holder[at]
    match dice.below(10):
        case 0 | 1 | 2 | 3:
            new = Token(dice.pick(HOSTILE))
        case 4:
            del holder[at]
            return value
        case 5:
            other, place = places[dice.below(len(places))]
            # A copy, so that nothing comes to contain itself.
            new = Token(written(other[place][1] if isinstance(other, Members) else other[place]))
        case 6:
            if isinstance(old, str):
                cut = dice.below(len(old) + 1)
                new = old[:cut] + dice.pick(("", "0", "-", ".", " ", "e", "é", "\x00", "99999999", '"')) + old[cut:]
            elif isinstance(old, (int, float)):
                new = Token(b'"' + written(old) + b'"')
            else:
                new = Token(b'"' + written(old).replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"')
        case 7:
            holder.insert(at, (name, Token(dice.pick(HOSTILE))) if isinstance(holder, Members) else old)
            return value
        case 8:
            if isinstance(holder, Members):
                holder[at] = (dice.pick(("", "x", name.upper(), name + "_", "é", "\x00")), old)
            return value
        case _:
            new = Token(b"[" + written(old) + b"]")
    holder[at] = (name, new) if isinstance(holder, Members) else new
    return value


def _places(value: Any) -> list[tuple[Any, int]]:
    found: list[tuple[Any, int]] = []
    for at, item in enumerate(value if isinstance(value, list) else ()):
        found.append((value, at))
        found += _places(item[1] if isinstance(value, Members) else item)
    return found
