"""Prices and sizes as exact integers.

``px_e4`` is a probability times 10,000 (every tick grid seen on either venue fits), ``sz_e6`` contracts
times 1,000,000. A text that does not fit is an error that names it; nothing is ever rounded.
"""

from __future__ import annotations

from overround.errors import ValueOutOfScale

__all__ = ["PX_ONE_E4", "SZ_ONE_E6", "px_e4", "px_text", "scaled", "sz_e6", "sz_text"]

PX_ONE_E4 = 10_000
SZ_ONE_E6 = 1_000_000
_SZ_LIMIT_E6 = 1 << 62


def scaled(text: str, digits: int, *, field: str, signed: bool = False) -> int:
    """Read a plain decimal text as an integer scaled by ``10 ** digits``, exactly.

    Parameters
    ----------
    text : str
        Decimal text such as ``"0.53"``, ``".5"`` or ``"100.00"``; no exponent, no blanks.
    digits : int
        Decimal places that the integer holds.
    field : str
        Name used in the error.
    signed : bool
        Whether a leading minus is allowed.

    Raises
    ------
    ValueOutOfScale
        If the text is no plain decimal or has more significant places than fit.

    Examples
    --------
    >>> scaled("0.0560", 4, field="price")
    560
    """
    try:
        body = text[1:] if signed and text[:1] == "-" else text
        whole, _, fraction = body.partition(".")
        if len(fraction) > digits:
            if fraction[digits:].strip("0"):
                raise ValueOutOfScale(field, text, scale=f"{digits} decimal places")
            fraction = fraction[:digits]
        if not body.isascii() or not (whole + fraction).isdigit():
            raise ValueOutOfScale(field, text, scale="a plain decimal number")
        value = int(whole + fraction.ljust(digits, "0"))
    except (TypeError, AttributeError, ValueError) as exc:
        # ValueError: Python reads no integers of thousands of digits.
        raise ValueOutOfScale(field, text, scale="a decimal text") from exc
    return -value if body is not text else value


def px_e4(text: str, *, field: str = "price") -> int:
    """Read a price text as ``px_e4``, 0 to 10,000.

    Raises
    ------
    ValueOutOfScale
        If the text is no decimal, is finer than 0.0001, or lies outside [0, 1].
    """
    value = scaled(text, 4, field=field)
    if value > PX_ONE_E4:
        raise ValueOutOfScale(field, text, scale="a probability in [0, 1]")
    return value


def sz_e6(text: str, *, field: str = "size", signed: bool = False) -> int:
    """Read a size text as ``sz_e6``.

    Raises
    ------
    ValueOutOfScale
        If the text is no decimal, is finer than 0.000001, or is larger than 2**62 / 10**6 contracts.
    """
    value = scaled(text, 6, field=field, signed=signed)
    if not -_SZ_LIMIT_E6 < value < _SZ_LIMIT_E6:
        raise ValueOutOfScale(field, text, scale="2**62 millionths of a contract")
    return value


def px_text(px: int) -> str:
    """Shortest decimal text of a ``px_e4``: ``5300`` gives ``"0.53"``."""
    if px == PX_ONE_E4:
        return "1"
    return f"0.{px:04d}".rstrip("0").rstrip(".")


def sz_text(sz: int) -> str:
    """Shortest decimal text of a ``sz_e6``: ``3_769_800_000`` gives ``"3769.8"``."""
    whole, fraction = divmod(sz, SZ_ONE_E6)
    return f"{whole}.{fraction:06d}".rstrip("0") if fraction else str(whole)
