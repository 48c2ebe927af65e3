"""Identifiers in the venues' shapes, made from a seed.

Polymarket: condition ids are ``0x`` and 64 hex digits, token ids 256-bit decimals of 76 to 78 digits; a neg-risk
market id ends in ``00`` and its question ids are the same bytes with the leg's index last, which is why a set
holds at most 256 legs.
"""

from __future__ import annotations

from hashlib import sha256

__all__ = ["condition_id", "neg_risk_id", "number_of", "question_id", "stream_seed", "token_id"]

_SHORTEST_TOKEN = 10**75


def _digest(*parts: object) -> bytes:
    return sha256("\x1f".join(map(str, parts)).encode()).digest()


def stream_seed(*parts: object) -> int:
    """Seed of an independent random stream, the same on every platform and run."""
    return int.from_bytes(_digest("stream", *parts)[:8], "big")


def number_of(*parts: object) -> float:
    """A number in [0, 1) that only the parts decide."""
    return int.from_bytes(_digest("number", *parts)[:6], "big") / (1 << 48)


def condition_id(*parts: object) -> str:
    """A Polymarket market key."""
    return "0x" + _digest("condition", *parts).hex()


def token_id(*parts: object) -> str:
    """A Polymarket outcome key."""
    salt = 0
    while True:
        token = int.from_bytes(_digest("token", salt, *parts), "big")
        if token >= _SHORTEST_TOKEN:
            return str(token)
        salt += 1


def neg_risk_id(*parts: object) -> str:
    """Key of an exclusive set on chain; its last byte is zero."""
    return "0x" + _digest("set", *parts).hex()[:62] + "00"


def question_id(set_id: str, leg: int) -> str:
    """On-chain question of one leg of a set.

    Examples
    --------
    >>> question_id("0x" + "ab" * 31 + "00", 3)[-4:]
    'ab03'
    """
    return f"{set_id[:-2]}{leg:02x}"
