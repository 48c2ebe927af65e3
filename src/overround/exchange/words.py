"""Names and rules texts of the generated markets.

The wording is our own; it follows the conventions that rules readers must cope with (dates in New York time, strictness
of thresholds, sources, tie and cancellation branches) without repeating any venue's text.
"""

from __future__ import annotations

import re

from overround.exchange import dates

__all__ = [
    "N_CITIES", "act", "asset", "binary_rules", "chamber_rules", "city", "coin", "deadline_rules", "decimals",
    "duel_rules", "fixture", "game_rules", "initials", "joint_rules", "line_rules", "milestone", "newsroom", "nice_step",
    "number", "office", "people", "plain", "race_rules", "slug", "statehouse", "team_code", "temperature_rules",
    "threshold_rules", "total_rules", "touch_rules", "window_rules",
]  # fmt: skip

_FIRMS_A = (
    "North",
    "Blue",
    "Silver",
    "Iron",
    "Clear",
    "Bright",
    "Stone",
    "River",
    "Cedar",
    "Harbor",
    "Summit",
    "Delta",
)
_FIRMS_B = ("gate", "field", "peak", "wave", "forge", "line", "port", "loom", "crest", "well", "mark", "path", "ridge")
_FIRMS_C = ("Robotics", "Energy", "Biologics", "Motors", "Aerospace", "Foods", "Networks", "Materials", "Bank", "Games")
_ACTS = (
    "announce a new chief executive", "list its shares on a stock exchange", "announce a share split",
    "open a factory in Ohio", "announce a takeover of a rival", "report a quarterly profit", "recall a product",
    "sign a contract with a government agency", "raise its full-year outlook", "close its London office",
)  # fmt: skip
_MILESTONES = (
    "launch its first satellite", "release its next flagship model", "receive approval for its lead therapy",
    "complete a crewed test flight", "publish its audited accounts", "switch on its first reactor",
    "open its app to the public", "deliver its first truck",
)  # fmt: skip
_TOWNS_A = ("Ash", "Brook", "Clay", "Dun", "East", "Fair", "Glen", "Hart", "King", "Lake", "Mill", "New", "Oak", "Pine")
_TOWNS_B = ("bury", "dale", "field", "ford", "ham", "haven", "mont", "mouth", "port", "ton", "view", "ville", "wick")
_OFFICES = ("mayoral", "council president", "county executive", "school board chair", "sheriff's", "comptroller")
_FIRST = (
    "Ada", "Bruno", "Clara", "Dario", "Elena", "Felix", "Greta", "Hugo", "Ines", "Jonas", "Kira", "Luca", "Mara", "Nils",
    "Olga", "Pavel", "Quinn", "Rosa", "Silas", "Tara", "Ugo", "Vera", "Wim", "Xenia", "Yara", "Zeno",
)  # fmt: skip
_LAST = (
    "Abernathy", "Bellweather", "Castellan", "Drummond", "Eastlake", "Fairbairn", "Greenhalgh", "Hollister", "Ingleby",
    "Jessop", "Kettering", "Lockhart", "Marchbanks", "Northcott", "Oakeshott", "Pemberton", "Quillfeather", "Ravenscroft",
    "Summerfield", "Thistlewood", "Underhill", "Vandermeer", "Whitcombe", "Yarborough", "Zellweger",
)  # fmt: skip
_CLUBS_A = tuple(
    f"{a}{b}"
    for a in ("Ald", "Bren", "Cor", "Dor", "Elm", "Fen", "Gal", "Hol", "Kel", "Lan")
    for b in ("by", "don", "mar", "stead", "ton")
)
_CLUBS_B = ("Athletic", "Rovers", "Falcons", "Mariners", "Wolves", "Union", "Comets", "Rangers", "Titans", "Harriers")
_LEAGUES = {
    "game": (("FXL", "First Division"), ("CUPX", "Continental Cup"), ("NLX", "Northern League")),
    "duel": (("HOOPX", "Metropolitan Basketball League"), ("ICEX", "Lakes Hockey League"), ("DIAMX", "Prairie Baseball League")),
    "totals": (("SLX", "Southern League"), ("VASEX", "Challenge Vase")),
}  # fmt: skip
_ASSETS: dict[str, tuple[tuple[str, str, float, str], ...]] = {
    "threshold": (
        ("gold", "XGOLD", 3_400.0, "$"), ("silver", "XSILV", 41.0, "$"), ("copper", "XCOPP", 4.6, "$"), ("crude oil", "XOIL", 68.0, "$"),
        ("natural gas", "XGAS", 3.3, "$"), ("wheat", "XWHEAT", 560.0, ""), ("corn", "XCORN", 430.0, ""), ("coffee", "XCOFF", 310.0, ""),
        ("cocoa", "XCOCOA", 7_900.0, "$"), ("cotton", "XCOTT", 67.0, ""), ("platinum", "XPLAT", 1_350.0, "$"), ("palladium", "XPALL", 1_150.0, "$"),
    ),
    "line": (("Bitcoin", "XBTC", 96_000.0, "$"), ("Ethereum", "XETH", 3_300.0, "$")),
    "touch": (
        ("Solana", "XSOL", 150.0, "$"), ("XRP", "XXRP", 2.4, "$"), ("Cardano", "XADA", 0.7, "$"), ("Avalanche", "XAVAX", 24.0, "$"),
        ("Litecoin", "XLTC", 95.0, "$"), ("Chainlink", "XLINK", 17.0, "$"), ("Polkadot", "XDOT", 4.1, "$"), ("Stellar", "XXLM", 0.31, "$"),
    ),
}  # fmt: skip
_COINS = (
    ("Dogecoin", "XDOGE"),
    ("Sui", "XSUI"),
    ("Hyperliquid", "XHYPE"),
    ("Toncoin", "XTON"),
    ("Monero", "XXMR"),
    ("Tron", "XTRX"),
)
_CITIES = (
    ("Denver", "DEN", 52), ("Boise", "BOI", 46), ("Tulsa", "TUL", 60), ("Fargo", "FAR", 33), ("Reno", "REN", 55), ("Mobile", "MOB", 70),
    ("Albany", "ALB", 47), ("Dayton", "DAY", 50), ("Fresno", "FRE", 66), ("Savannah", "SAV", 69), ("Spokane", "SPO", 43), ("Omaha", "OMA", 48),
    ("Raleigh", "RAL", 61), ("El Paso", "ELP", 66), ("Anchorage", "ANC", 27), ("Honolulu", "HON", 82),
)  # fmt: skip
N_CITIES = len(_CITIES)
_STATES = (
    "Alder", "Birch", "Cascade", "Dakota Falls", "Evergreen", "Franklin", "Granite", "High Plains", "Juniper", "Klamath",
    "Lakeland", "Mesa", "New Avalon", "Old Dominion Bay", "Prairie", "Redwood",
)  # fmt: skip


def _mix(nth: int, *sizes: int) -> list[int]:
    """Digits of a number in mixed radix, so that counting runs through every combination once; the last overflows."""
    digits = []
    for size in sizes:
        nth, digit = divmod(nth, size)
        digits.append(digit)
    return [*digits, nth]


def slug(text: str) -> str:
    """Lower-case words with hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def _series(word: str, again: int) -> str:
    return word if not again else f"{word} {again + 1}"


def _letters(nth: int, width: int) -> str:
    """A number as capital letters."""
    found = ""
    for _ in range(width):
        nth, digit = divmod(nth, 26)
        found = chr(65 + digit) + found
    return found


def _firm(nth: int) -> str:
    a, b, c, again = _mix(nth, len(_FIRMS_A), len(_FIRMS_B), len(_FIRMS_C))
    # The shifts let neighbours differ in every part instead of in the first only.
    b, c = (b + a) % len(_FIRMS_B), (c + a + b) % len(_FIRMS_C)
    return _series(f"{_FIRMS_A[a]}{_FIRMS_B[b]} {_FIRMS_C[c]}", again)


def act(nth: int) -> tuple[str, str, str]:
    """Subject, act and ticker code of a question about a firm."""
    return _firm(nth), _ACTS[nth % len(_ACTS)], f"FIRM{_letters(nth, 3)}"


def milestone(nth: int) -> tuple[str, str, str]:
    """Subject, act and ticker code of a question when something happens; other firms than ``act`` speaks about."""
    return f"{_firm(nth)} Labs", _MILESTONES[nth % len(_MILESTONES)], f"WHEN{_letters(nth, 3)}"


def office(nth: int, kind: str) -> tuple[str, str, str]:
    """Office, place and ticker code of a race; open and closed lists never share a place."""
    a, b, o, again = _mix(nth, len(_TOWNS_A), len(_TOWNS_B), len(_OFFICES))
    b = (b + a) % len(_TOWNS_B)
    place = f"{'North' if kind == 'augmented' else 'South'} {_TOWNS_A[a]}{_TOWNS_B[b]}"
    return _OFFICES[o], _series(place, again), f"{'RACEA' if kind == 'augmented' else 'RACE'}{_letters(nth, 3)}"


def people(nth: int, kind: str, n: int) -> list[str]:
    """Names of ``n`` candidates, all different."""
    start = nth * 7 + (13 if kind == "augmented" else 0)
    return [f"{_FIRST[(start + 5 * i) % len(_FIRST)]} {_LAST[(start * 3 + i) % len(_LAST)]}" for i in range(n)]


def initials(person: str, at: int) -> str:
    """Ticker suffix of a candidate."""
    first, _, last = person.partition(" ")
    return f"{first[:1]}{last[:3]}{at}".upper()


def fixture(nth: int, kind: str) -> tuple[str, str, str, str]:
    """Two teams, ticker code and league; every pair of teams meets at most once a kind."""
    codes = _LEAGUES[kind]
    code, league = codes[nth % len(codes)]
    nth //= len(codes)
    n = len(_CLUBS_A)
    home = nth % n
    away = (home + 1 + nth // n % (n - 1)) % n
    again = nth // (n * (n - 1))
    shift = list(_LEAGUES).index(kind) * 3 + codes.index((code, league))
    a = f"{_CLUBS_A[home]} {_CLUBS_B[(home + shift) % len(_CLUBS_B)]}"
    b = f"{_CLUBS_A[away]} {_CLUBS_B[(away + shift) % len(_CLUBS_B)]}"
    return (f"{a} Reserves {again}", f"{b} Reserves {again}", code, league) if again else (a, b, code, league)


def team_code(name: str) -> str:
    """Letters of a team in a ticker; no two places share them."""
    place, _, club = name.partition(" ")
    digits = "".join(c for c in club if c.isdigit())
    return (place[:2] + place[3:5] + club[0]).upper() + digits


def statehouse(nth: int, year: int) -> tuple[str, int, str]:
    """State, year and ticker code of a legislature's election."""
    again, which = divmod(nth, len(_STATES))
    return _STATES[which], year + 1 + again, f"LEG{_letters(which, 2)}"


def asset(nth: int, kind: str) -> tuple[str, str, float, str]:
    """Asset, ticker code, level and unit; each kind of question has assets of its own.

    Later rounds get a contract month, so that two ladders never measure the same number.
    """
    listed = _ASSETS[kind]
    again, which = divmod(nth, len(listed))
    name, code, level, unit = listed[which]
    if kind == "line" or not again:
        return name, code, level, unit
    return f"{name} (contract {_letters(again, 2)})", f"{code}{_letters(again, 2)}", level, unit


def coin(nth: int) -> tuple[str, str]:
    """Coin of an up-or-down window, and its ticker code."""
    return _COINS[nth % len(_COINS)]


def city(nth: int) -> tuple[str, str, int]:
    """City, ticker code and a usual temperature in °F; each runs through sixty days, then gets another station."""
    which, round_ = nth % N_CITIES, nth // N_CITIES // 60
    name, code, usual = _CITIES[which]
    return (f"{name} (station {round_ + 1})", f"{code}{round_ + 1}", usual) if round_ else (name, code, usual)


# ------------------------------------------------------------------ numbers


def nice_step(raw: float) -> float:
    """The nearest of 1, 2, 2.5 and 5 times a power of ten."""
    power = 1.0
    while raw >= 10:
        raw, power = raw / 10, power * 10
    while raw < 1:
        raw, power = raw * 10, power / 10
    return round(min((1.0, 2.0, 2.5, 5.0, 10.0), key=lambda step: abs(step - raw)) * power, 6)


def decimals(level: float) -> int:
    """Decimal places in which an asset of that level is quoted."""
    return 2 if level >= 10 else 4


def plain(value: float) -> str:
    """A strike as exact decimal text: ``62499.99``."""
    text = f"{value:.6f}".rstrip("0").rstrip(".")
    return text or "0"


def number(value: float) -> str:
    """A strike as readers see it: ``62,500``."""
    whole, dot, fraction = plain(value).partition(".")
    return f"{int(whole):,}{dot}{fraction}"


# ------------------------------------------------------------------ rules


def newsroom(subject: str) -> str:
    """Source of a question about a firm."""
    return f"an official statement of {subject}, or agreement of credible reporting"


def binary_rules(subject: str, deed: str, until: str, now_ms: int) -> str:
    """Rules of a single question."""
    since = dates.long_date(dates.day_of(now_ms))
    return (
        f"This market resolves to Yes if {subject} does {deed} between {since} and {until}, 11:59 PM ET. "
        f"Otherwise it resolves to No. An announcement counts at the time it is made public, even if it takes effect later. "
        f"The source is {newsroom(subject)}."
    )


def deadline_rules(subject: str, deed: str, day: dates.Day, now_ms: int, *, strict: bool) -> str:
    """Rules of one rung of a deadline ladder."""
    since = dates.long_date(dates.day_of(now_ms))
    if strict:
        limit = f"before {dates.long_date(dates.plus_days(day, 1))}, 12:00 AM ET"
    else:
        limit = f"by {dates.long_date(day)}, 11:59 PM ET"
    return (
        f"This market resolves to Yes if {subject} does {deed} after {since}, 12:00 AM ET, and {limit}. Otherwise it "
        f"resolves to No. Partial or provisional steps do not count. The source is {newsroom(subject)}."
    )


def race_rules(person: str | None, post: str, place: str, held: str, named: list[str], *, open_list: bool) -> str:
    """Rules of one leg of a race; ``person`` is None for everybody else."""
    who = person or f"a person other than {', '.join(named)}"
    tail = (
        "Further candidates may be added to this event as they are nominated; if none of the listed candidates wins, every listed market resolves to No."
        if open_list
        else "Exactly one market of this event resolves to Yes, the one for everybody else included."
    )
    return (
        f"This market resolves to Yes if {who} wins the {place} {post} election scheduled for {held}, run-offs included. "
        f"The source is the certified result published by the {place} election office. {tail}"
    )


def game_rules(home: str, away: str, league: str, day: str, winner: str | None, polymarket: bool) -> str:  # noqa: FBT001
    """Rules of one leg of a match that can be drawn."""
    if winner is None:
        said = f"the match {home} against {away} on {day} is level after regulation and stoppage time"
    else:
        said = f"{winner} wins the match {home} against {away} on {day} in regulation and stoppage time"
    off = (
        "If the match is cancelled, the market for the draw resolves to Yes and both teams' markets to No."
        if polymarket
        else "If the match is cancelled, every market of the event settles at its last fair price."
    )
    return f"This market resolves to Yes if {said}. Extra time does not count. {off} The source is the official match report of the {league}."


def duel_rules(home: str, away: str, league: str, day: str) -> str:
    """Rules of a match without a draw."""
    return (
        f"The market concerns the winner of {home} against {away} on {day}, overtime included. A postponed game keeps the "
        f"market open until it is played; a cancelled game without a make-up settles both sides at 50 cents. The source is the official box score of the {league}."
    )


def joint_rules(state: str, held: str, senate: str, house: str) -> str:
    """Rules of one box of a balance-of-power table."""
    return (
        f"This market resolves to Yes if, after the elections of {held}, the {senate} hold more seats in the {state} senate than the other party and the "
        f"{house} hold more seats in the {state} house than the other party. The source is the seat counts certified by the {state} secretary of state."
    )


def chamber_rules(state: str, chamber: str, held: str, party: str) -> str:
    """Rules of one side of one chamber."""
    return (
        f"This market resolves to Yes if, after the elections of {held}, the {party} hold more seats in the {state} {chamber} than the other party. "
        f"The source is the seat counts certified by the {state} secretary of state."
    )


def threshold_rules(what: str, unit: str, strike: str, day: str) -> str:
    """Rules of one rung of a settlement ladder."""
    return (
        f"This market resolves to Yes if the settlement price of {what} for {day} is strictly above {unit}{strike}. A settlement exactly at {unit}{strike} resolves to No. "
        f"If no settlement is published for that day, the previous one is used. The source is the settlement price of {what} published by its exchange."
    )


def temperature_rules(place: str, day: str, said: str) -> str:
    """Rules of one temperature range."""
    return (
        f"This market resolves to Yes if the highest temperature recorded in {place} on {day} is {said}, in whole degrees Fahrenheit. "
        f"The source is the final daily climate report of the weather service for {place}; preliminary readings do not count."
    )


def line_rules(what: str, said: str, when: str) -> str:
    """Rules of one range or rung at an instant."""
    return f"This market resolves to Yes if the one-minute average of the {what} reference index before {when}, rounded to its quoted precision, is {said}. Otherwise it resolves to No."


def total_rules(home: str, away: str, league: str, day: str, line: float) -> str:
    """Rules of one line of a totals ladder."""
    return (
        f"This market resolves to Yes (Over) if {home} and {away} together score more than {line} goals in their match on {day}, extra time not counted, and to No (Under) otherwise. "
        f"If the match is cancelled, it settles at 50 cents. The source is the official match report of the {league}."
    )


def touch_rules(what: str, strike: str, up: bool, first: str, last: str) -> str:  # noqa: FBT001
    """Rules of one rung of a touch ladder."""
    side, extreme = ("or higher", "high") if up else ("or lower", "low")
    return (
        f"This market resolves to Yes if any one-minute candle of {what} between {first}, 12:00 AM ET, and {last}, 11:59 PM ET, has a final {extreme} of {strike} {side}. "
        f"Otherwise it resolves to No. The source is the one-minute candles of {what} on its primary exchange."
    )


def window_rules(what: str, span: str) -> str:
    """Rules of a short up-or-down window."""
    return (
        f"This market resolves to Up (Yes) if the {what} price at the end of {span} is greater than or equal to the price at its beginning, and to Down (No) otherwise. "
        f"The source is the {what} reference stream of the price oracle."
    )
