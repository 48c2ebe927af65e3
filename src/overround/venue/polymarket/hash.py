"""The venue's book hash, recomputed in every era, without knowing beforehand what the venue hashed.

The hash is the SHA-1 of the compact JSON text of the book, whose members grew over the years (`HashEra`).
Levels are printed in wire order (bids rising, asks falling) as canonical decimals, so the text is made from our
integers; every captured book re-hashes that way. What a socket does not always carry (minimum size, tick, neg-risk
flag, and ``last_trade_price``, which the venue moves before it announces it) is printed *after* the levels. So the
expensive part is hashed once and the members in doubt are tried as candidates on copies of the hash state. A match
is a proof, whichever candidate made it: SHA-1 does not match by luck.

Until July 2025 the hashed time lay 3 to 13 ms before the frame's own, so those eras are tried over time shifts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import IntEnum
from itertools import chain, product

import msgspec

from overround.market import PX_ONE_E4, SZ_ONE_E6, px_text, sz_text

__all__ = [
    "OLD_SHIFTS_MS",
    "HashEra",
    "HashInputs",
    "HashProof",
    "book_hash",
    "head_text",
    "ladder_hash",
    "ladders_text",
    "last_trade_candidates",
    "level_text",
    "prove",
    "tail_text",
]

OLD_SHIFTS_MS = tuple(range(21))
"""How far before a frame's own time the hashed time may lie until July 2025 (3 to 13 ms captured), and zero."""


class HashEra(IntEnum):
    """Which members the venue hashed, named by their number."""

    FIVE = 5
    """2024: market, asset_id, hash, bids, asks."""
    SIX = 6
    """December 2024 to July 2025: with timestamp (and a time 3 to 13 ms before the frame's)."""
    NINE = 9
    """October 2025: with min_order_size, tick_size, neg_risk."""
    TEN = 10
    """December 2025 and later: with last_trade_price."""


class HashInputs(msgspec.Struct, frozen=True, kw_only=True):
    """What a book is hashed with besides its levels.

    Attributes
    ----------
    market, asset_id : str
        Condition id and token id.
    timestamp_ms : int
        Venue time of the book's last change.
    min_order_size, tick_size : str
        Decimal texts as the venue prints them.
    neg_risk : bool
    last_trade_price : str
        As printed by the venue, empty if never traded.
    """

    market: str
    asset_id: str
    timestamp_ms: int
    min_order_size: str = "5"
    tick_size: str = "0.01"
    neg_risk: bool = False
    last_trade_price: str = ""


class HashProof(msgspec.Struct, frozen=True, kw_only=True):
    """The inputs with which a book's hash came out as announced.

    Attributes
    ----------
    era : HashEra
    inputs : HashInputs
    shift_ms : int
        How far before the frame's time the hashed time lay (old eras), else 0.
    n_tried : int
        Combinations tried until this one.
    """

    era: HashEra
    inputs: HashInputs
    shift_ms: int = 0
    n_tried: int = 1


def book_hash(
    era: HashEra, inputs: HashInputs, bids: Iterable[tuple[str, str]], asks: Iterable[tuple[str, str]]
) -> str:
    """Hash of a token's book as received, without reading its numbers.

    Parameters
    ----------
    era : HashEra
    inputs : HashInputs
    bids, asks : iterable of (price, size) texts
        In wire order: bids rising, asks falling.

    Returns
    -------
    str
        40 lowercase hex digits.

    Notes
    -----
    The example is the vector of the venue's own SDK, whose asks are not in wire order.

    Examples
    --------
    >>> inputs = HashInputs(
    ...     market="0xaabbcc", asset_id="100", timestamp_ms=123456789, min_order_size="100", last_trade_price="0.5"
    ... )
    >>> book_hash(HashEra.TEN, inputs, [("0.3", "100"), ("0.4", "100")], [("0.6", "100"), ("0.7", "100")])
    '0458ea5755c9f73d64a14636fa5c36ed460ec394'
    """
    sides = [",".join(f'{{"price":"{price}","size":"{size}"}}' for price, size in side) for side in (bids, asks)]
    return _digest(era, inputs, f'"bids":[{sides[0]}],"asks":[{sides[1]}]')


def ladder_hash(era: HashEra, inputs: HashInputs, bids: Mapping[int, int], asks: Mapping[int, int]) -> str:
    """Hash of a token's book made from our integers, as the venue would announce it.

    Parameters
    ----------
    era : HashEra
    inputs : HashInputs
    bids, asks : mapping of int to int
        ``px_e4`` to ``sz_e6`` of that token, in any order.
    """
    return _digest(era, inputs, ladders_text(bids, asks))


def ladders_text(bids: Mapping[int, int], asks: Mapping[int, int]) -> str:
    """The two ladders as hashed: ``"bids":[...],"asks":[...]``, bids rising and asks falling."""
    return f'"bids":[{_side_text(bids, falling=False)}],"asks":[{_side_text(asks, falling=True)}]'


def last_trade_candidates(texts: Iterable[str], *, step_e4: int = 0) -> Iterator[str]:
    """Texts under which ``last_trade_price`` may have been hashed, likeliest first.

    Parameters
    ----------
    texts : iterable of str
        Prices that are or may be about to be the last trade: announced, printed, resting at the touch.
    step_e4 : int
        If positive, every price of that grid follows, for the print that has not reached us yet.

    Yields
    ------
    str
        Each text as it is, then padded to two and to three decimals; none twice.

    Examples
    --------
    >>> list(last_trade_candidates(["0.5", ""]))
    ['0.5', '0.50', '0.500', '']
    """
    seen: set[str] = set()
    grid = (px_text(px) for px in range(step_e4, PX_ONE_E4, step_e4)) if step_e4 > 0 else ()
    for text in chain(texts, grid):
        for spelled in (text, _padded(text, 2), _padded(text, 3)):
            if spelled not in seen:
                seen.add(spelled)
                yield spelled


def prove(
    announced: str,
    inputs: HashInputs,
    bids: Mapping[int, int],
    asks: Mapping[int, int],
    *,
    eras: Sequence[HashEra] = (HashEra.TEN,),
    last_trades: Iterable[str] = (),
    min_order_sizes: Sequence[str] = (),
    tick_sizes: Sequence[str] = (),
    neg_risks: Sequence[bool] = (),
    shifts_ms: Sequence[int] = (0,),
) -> HashProof | None:
    """Find the inputs with which a book hashes as announced.

    Parameters
    ----------
    announced : str
        The venue's hash.
    inputs : HashInputs
        Likeliest inputs; tried first.
    bids, asks : mapping of int to int
        ``px_e4`` to ``sz_e6`` of that token.
    eras : sequence of HashEra
        Tried in this order.
    last_trades, min_order_sizes, tick_sizes, neg_risks
        Further candidates of those members, where the era has them; see `last_trade_candidates`.
    shifts_ms : sequence of int
        Milliseconds to subtract from ``inputs.timestamp_ms``; ``OLD_SHIFTS_MS`` finds every old change captured.

    Returns
    -------
    HashProof or None
        None if no combination matches: the book is not the announced one, or the venue hashes otherwise now.
    """
    ladders = ladders_text(bids, asks)
    n_tried = 0
    trades = list(last_trades) if HashEra.TEN in eras else []
    for era in eras:
        for shift in shifts_ms if era is not HashEra.FIVE else shifts_ms[:1]:
            text = head_text(era, inputs, inputs.timestamp_ms - shift) + ladders
            state = hashlib.sha1(text.encode(), usedforsecurity=False)
            for size, tick, neg_risk, trade in _tails(era, inputs, min_order_sizes, tick_sizes, neg_risks, trades):
                n_tried += 1
                tried = state.copy()
                tried.update(tail_text(era, size, tick, neg_risk, trade).encode())
                if tried.hexdigest() == announced:
                    found = HashInputs(
                        market=inputs.market,
                        asset_id=inputs.asset_id,
                        timestamp_ms=inputs.timestamp_ms - shift,
                        min_order_size=size,
                        tick_size=tick,
                        neg_risk=neg_risk,
                        last_trade_price=trade,
                    )
                    return HashProof(era=era, inputs=found, shift_ms=shift, n_tried=n_tried)
    return None


def _digest(era: HashEra, inputs: HashInputs, ladders: str) -> str:
    tail = tail_text(era, inputs.min_order_size, inputs.tick_size, inputs.neg_risk, inputs.last_trade_price)
    text = head_text(era, inputs, inputs.timestamp_ms) + ladders + tail
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


def _tails(
    era: HashEra,
    inputs: HashInputs,
    min_order_sizes: Sequence[str],
    tick_sizes: Sequence[str],
    neg_risks: Sequence[bool],
    trades: Sequence[str],
) -> Iterator[tuple[str, str, bool, str]]:
    """Every combination of the members behind the levels, the likeliest first, none twice."""
    if era < HashEra.NINE:
        yield inputs.min_order_size, inputs.tick_size, inputs.neg_risk, inputs.last_trade_price
        return
    yield from product(
        dict.fromkeys((inputs.min_order_size, *min_order_sizes)),
        dict.fromkeys((inputs.tick_size, *tick_sizes)),
        dict.fromkeys((inputs.neg_risk, *neg_risks)),
        dict.fromkeys((inputs.last_trade_price, *trades)) if era is HashEra.TEN else (inputs.last_trade_price,),
    )


def head_text(era: HashEra, inputs: HashInputs, timestamp_ms: int) -> str:
    """What stands before the levels in the hashed text."""
    time = "" if era is HashEra.FIVE else f'"timestamp":"{timestamp_ms}",'
    return f'{{"market":"{inputs.market}","asset_id":"{inputs.asset_id}",{time}"hash":"",'


def tail_text(era: HashEra, min_order_size: str, tick_size: str, neg_risk: bool, last_trade_price: str) -> str:  # noqa: FBT001
    """What stands behind the levels in the hashed text."""
    if era < HashEra.NINE:
        return "}"
    flag = "true" if neg_risk else "false"
    nine = f',"min_order_size":"{min_order_size}","tick_size":"{tick_size}","neg_risk":{flag}'
    return f'{nine},"last_trade_price":"{last_trade_price}"}}' if era is HashEra.TEN else nine + "}"


def _side_text(levels: Mapping[int, int], *, falling: bool) -> str:
    parts = []
    for px in sorted(levels, reverse=falling):
        sz = levels[px]
        opening = _openings.get(px) or _opening(px)
        parts.append(opening + (_closings.get(sz) or _closing(sz)))
    return ",".join(parts)


def level_text(px: int, sz: int) -> bytes:
    """One level as hashed.

    Examples
    --------
    >>> level_text(5_500, 1_250_000)
    b'{"price":"0.55","size":"1.25"}'
    """
    opening = (_openings.get(px) or _opening(px)).encode()
    if _SHORTEST_SZ_E6 <= sz < _EXACT_SZ_E6:
        # The quotient is the double nearest to the size, and fifteen digits of it are the size itself.
        return b'%b%.15g"}' % (opening, sz / SZ_ONE_E6)
    return opening + (_closings.get(sz) or _closing(sz)).encode()


def _opening(px: int) -> str:
    text = _openings[px] = f'{{"price":"{px_text(px)}","size":"'
    return text


def _closing(sz: int) -> str:
    if len(_closings) >= _CLOSINGS_MAX:
        _closings.clear()
    text = _closings[sz] = f'{sz_text(sz)}"}}'
    return text


def _padded(text: str, places: int) -> str:
    whole, _, fraction = text.partition(".")
    return f"{whole}.{fraction.ljust(places, '0')}" if text else text


# The two halves of a level's text, by price (at most 10,001) and by size. Between two proofs of a book nearly all of
# its levels stay, so nearly all texts are at hand: that halves the cost of a proof.
_openings: dict[int, str] = {}
_closings: dict[int, str] = {}
_CLOSINGS_MAX = 1 << 16
# Smaller sizes are printed with an exponent, larger ones have more than fifteen digits.
_SHORTEST_SZ_E6, _EXACT_SZ_E6 = 100, 10**15
