"""Families of related markets, with texts of their own wording.

A family is a space of states (ways in which things can end), a process that weighs them, and markets on one or both
venues, each true in some of the states. Subjects (places, people, companies, teams) are made up or combined so that
no two families ever speak about the same thing: relations between markets exist inside a family only.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Sequence

import msgspec

from overround.exchange import dates, ids, words
from overround.exchange.latent import Deadlines, Line, Process, Reach, Shares
from overround.exchange.model import Listed, ListedEvent
from overround.market import Venue

__all__ = ["CARDS", "Card", "Family", "Leg", "Maker", "Relation", "short_window"]

_PM, _K = Venue.POLYMARKET, Venue.KALSHI
_MINUTE, _HOUR, _DAY = 60_000, 3_600_000, 86_400_000


class Relation(msgspec.Struct, frozen=True, kw_only=True):
    """One logical relation that holds by construction.

    Attributes
    ----------
    kind : str
        ``implies`` (first leg implies second), ``equivalent``, ``partition``, ``exclusive``, or ``joint``
        (first leg = second and third).
    legs : tuple of int
        Places in ``Family.legs``.
    """

    kind: str
    legs: tuple[int, ...]


class Leg:
    """One market of a family.

    Attributes
    ----------
    listed : Listed
    states : tuple of int
        States in which the first outcome wins.
    pull : float
        Relative activity, before ranking.
    rate : float
        Level changes per second at ``rate_scale`` 1.
    rank : float
        0 for the venue's busiest market, 1 for its quietest.
    index : int
        Running number over the whole world; breaks ties in time.
    lists_ms : int or None
        When the leg is added to an augmented set; None when it is there from the start.
    """

    __slots__ = ("index", "listed", "lists_ms", "pull", "rank", "rate", "states")

    def __init__(self, listed: Listed, states: Sequence[int], pull: float, lists_ms: int | None = None) -> None:
        self.listed = listed
        self.states = tuple(states)
        self.pull = pull
        self.rate = 0.0
        self.rank = 1.0
        self.index = -1
        self.lists_ms = lists_ms


class Family:
    """Related markets.

    Attributes
    ----------
    key : str
    kind : str
        ``binary``, ``exclusive``, ``augmented``, ``threshold``, ``touch``, ``deadline``, ``partition``, ``line``,
        ``joint``, ``game``, ``duel``, ``totals`` or ``updown``.
    states : tuple of str
        Names of the states.
    process : Process
    legs : list of Leg
    relations : list of Relation
    exhaustive : bool
        Whether the listed legs of an exclusive set cover every state.
    close_ms, resolve_ms : int
        When trading ends, and when the result is known.
    window_ms, coin : int
        Length and coin of a rolling window, 0 for others.
    """

    __slots__ = (
        "close_ms", "coin", "exhaustive", "index", "key", "kind", "legs", "process", "relations", "resolve_ms", "states",
        "window_ms",
    )  # fmt: skip

    def __init__(
        self, key: str, kind: str, states: Sequence[str], process: Process, *, close_ms: int, resolve_ms: int
    ) -> None:
        self.key = key
        self.kind = kind
        self.states = tuple(states)
        self.process = process
        self.legs: list[Leg] = []
        self.relations: list[Relation] = []
        self.exhaustive = False
        self.close_ms = close_ms
        self.resolve_ms = resolve_ms
        self.window_ms = 0
        self.coin = 0
        self.index = -1

    def fair(self, leg: Leg, weights: Sequence[float]) -> float:
        """Probability of a leg's first outcome."""
        return math.fsum(weights[s] for s in leg.states)


class Card(msgspec.Struct, frozen=True):
    """What a family may be, and where it is listed."""

    kind: str
    venues: tuple[Venue, ...]


_FEES = {
    "crypto": ("0.07", "crypto_fees_v2"),
    "sports": ("0.05", "sports_fees_v2"),
    "economics": ("0.05", "economics_fees"),
}


class Maker:
    """Makes families one after the other.

    Parameters
    ----------
    seed : int
    now_ms : int
        Start of the world; dates in texts and closing times follow from it.
    """

    def __init__(self, seed: int, now_ms: int) -> None:
        self.seed = seed
        self.now_ms = now_ms
        self.today = dates.day_of(now_ms)
        self._counts: dict[str, int] = {}
        self._number = 512_340 + seed % 1000
        self._event = 20_110 + seed % 1000

    # ---------------------------------------------------------------- common

    def make(self, card: Card) -> Family:
        """The next family of a kind; its subject is new."""
        nth = self._counts.get(card.kind, 0)
        self._counts[card.kind] = nth + 1
        rng = random.Random(ids.stream_seed(self.seed, "family", card.kind, nth))
        family = _KINDS[card.kind](self, nth, card.venues, rng)
        heat = rng.paretovariate(0.9)
        weights = family.process.weights(self.now_ms)
        for leg in family.legs:
            p = family.fair(leg, weights)
            leg.pull *= heat * (0.1 + 4 * p * (1 - p)) * math.exp(rng.gauss(0, 0.5))
            leg.listed.related = {
                "family": family.key,
                "kind": family.kind,
                "states": ",".join(map(str, leg.states)),
                "of": str(len(family.states)),
            }
        return family

    def event(
        self,
        venue: Venue,
        ticker: str,
        title: str,
        category: str,
        family: str,
        *,
        exclusive: bool = False,
        augmented: bool = False,
        series: str = "",
        number: int | None = None,
    ) -> ListedEvent:
        """An event as the venue would list it."""
        if number is None:
            number = self._event = self._event + 1
        if venue is _PM:
            return ListedEvent(
                key=str(number),
                title=title,
                category=category,
                series=words.slug(series or ticker.split("-", maxsplit=1)[0]),
                exclusive=exclusive,
                augmented=augmented,
                neg_risk_id=ids.neg_risk_id(self.seed, ticker) if exclusive else "",
                family=family,
            )
        return ListedEvent(
            key=ticker,
            title=title,
            category=category,
            series=ticker.split("-", maxsplit=1)[0],
            exclusive=exclusive,
            family=family,
        )

    def leg(
        self,
        family: Family,
        event: ListedEvent,
        venue: Venue,
        suffix: str,
        states: Sequence[int],
        *,
        title: str,
        rules: str,
        source: str,
        label: str = "",
        outcomes: tuple[str, str] = ("Yes", "No"),
        strike: tuple[str, str, str] = ("", "", ""),
        grid: str = "linear_cent",
        fee: str = "",
        at: int = 0,
        open_ms: int | None = None,
        close_ms: int | None = None,
        lists_ms: int | None = None,
        pull: float = 1.0,
        number: int | None = None,
    ) -> Leg:
        """Add one market to a family."""
        if number is None:
            number = self._number = self._number + 1
        name = f"{family.key}/{event.key}/{suffix}"
        chance = ids.number_of(self.seed, name, "volume")
        if venue is _PM:
            key = ids.condition_id(self.seed, name)
            tokens = (ids.token_id(self.seed, name, 0), ids.token_id(self.seed, name, 1))
            rate, fee_type = _FEES.get(fee, ("", ""))
            tick, structure, minimum = 100, "", 5_000_000
        else:
            key = f"{event.key}-{suffix}" if suffix else event.key
            tokens = ("yes", "no")
            rate, fee_type = "1", "quadratic"
            tick, structure, minimum = 100, grid, 10_000
        listed = Listed(
            venue=venue,
            key=key,
            tokens=tokens,
            number=number,
            event=event,
            leg=at,
            title=title,
            label=label,
            rules=rules,
            source=source,
            outcomes=outcomes,
            open_ms=self.now_ms - int(chance * 40 * _DAY) - _HOUR if open_ms is None else open_ms,
            close_ms=family.close_ms if close_ms is None else close_ms,
            tick_e4=tick,
            grid=structure,
            min_size_e6=minimum,
            fee_rate=rate,
            fee_type=fee_type,
            strike_type=strike[0] if venue is _K else "",
            floor_strike=strike[1] if venue is _K else "",
            cap_strike=strike[2] if venue is _K else "",
        )
        leg = Leg(listed, states, pull, lists_ms)
        family.legs.append(leg)
        return leg

    def family(
        self, kind: str, nth: int, states: Sequence[str], process: Process, *, close_ms: int, lag_ms: int = 90_000
    ) -> Family:
        """An empty family; results are known ``lag_ms`` after trading ends."""
        return Family(f"{kind}-{nth}", kind, states, process, close_ms=close_ms, resolve_ms=close_ms + lag_ms)

    def days_ahead(self, rng: random.Random, low: int, high: int) -> dates.Day:
        """A day that many days from the start."""
        return dates.plus_days(self.today, rng.randint(low, high))


def _pairs(family: Family, places: Sequence[int], kind: str = "implies") -> None:
    """Ladder relations between neighbours; ``places`` run from strict to loose."""
    for strict, loose in itertools.pairwise(places):
        family.relations.append(Relation(kind=kind, legs=(strict, loose)))


def _twins(family: Family, groups: Sequence[Sequence[int]]) -> None:
    """Equivalences between the same places of several lists."""
    first, *others = groups
    for other in others:
        for a, b in zip(first, other, strict=True):
            family.relations.append(Relation(kind="equivalent", legs=(a, b)))


# ------------------------------------------------------------------ one question


def _binary(make: Maker, nth: int, venues: tuple[Venue, ...], rng: random.Random) -> Family:
    subject, act, code = words.act(nth)
    day = make.days_ahead(rng, 3, 400)
    close = dates.end_of_day_ms(day)
    score = rng.gauss(-0.4, 1.4)
    family = make.family("binary", nth, (act, "not"), Shares((score, 0.0)), close_ms=close)
    until = dates.long_date(day)
    title = f"Will {subject} {act} by {until}?"
    for venue in venues:
        event = make.event(venue, f"KX{code}-{dates.ticker_date(day)}", title, "Business", "binary")
        make.leg(
            family, event, venue, "" if venue is _PM else "Y", (0,), title=title, label=until, strike=("custom", "", ""),
            rules=words.binary_rules(subject, act, until, make.now_ms), source=words.newsroom(subject),
        )  # fmt: skip
    if len(venues) == 2:
        _twins(family, ((0,), (1,)))
    return family


def _deadline(make: Maker, nth: int, venues: tuple[Venue, ...], rng: random.Random) -> Family:
    subject, act, code = words.milestone(nth)
    rungs = rng.randint(3, 6)
    first = rng.randint(5, 40)
    days = [dates.month_end(make.today, ahead) for ahead in range(1, rungs + 1)]
    if rng.random() < 0.3:
        days = [dates.plus_days(make.today, first * (i + 1)) for i in range(rungs)]
    names = [f"by {dates.short_date(day)}" for day in days] + ["never"]
    process = Deadlines([(i + 1.0) for i in range(rungs)], rng.gauss(-1.6, 0.8))
    last = dates.end_of_day_ms(days[-1])
    family = make.family("deadline", nth, names, process, close_ms=last)
    groups = []
    for venue in venues:
        title = f"When will {subject} {act}?"
        event = make.event(
            venue, f"KX{code}-{dates.ticker_date(days[-1])}", title, "Science and Technology", "deadline"
        )
        places = []
        for at, day in enumerate(days):
            until = dates.long_date(day)
            places.append(len(family.legs))
            make.leg(
                family, event, venue, dates.ticker_date(day), range(at + 1),
                title=f"Will {subject} {act} by {until}?" if venue is _PM else f"Will {subject} {act} before {dates.long_date(dates.plus_days(day, 1))}?",
                label=dates.short_date(day) if venue is _PM else f"Before {dates.short_date(dates.plus_days(day, 1))}",
                rules=words.deadline_rules(subject, act, day, make.now_ms, strict=venue is _K), source=words.newsroom(subject), at=at,
                strike=("custom", "", ""), close_ms=dates.end_of_day_ms(day),
            )  # fmt: skip
        _pairs(family, places)
        groups.append(places)
    if len(venues) == 2:
        _twins(family, groups)
    return family


# ------------------------------------------------------------------ exclusive sets


def _race(
    make: Maker, nth: int, venues: tuple[Venue, ...], rng: random.Random, *, kind: str, open_list: bool
) -> Family:
    office, place, code = words.office(nth, kind)
    n = rng.choice((3, 3, 4, 4, 5, 5, 6, 7, 8, 10, 12, 16))
    later = rng.randint(1, 3) if open_list else 0
    people = words.people(nth, kind, n + later)
    day = make.days_ahead(rng, 5, 300)
    close = dates.end_of_day_ms(day)
    names = [*people, "another person"]
    scores = [rng.gauss(0.0, 1.3) for _ in people] + [rng.gauss(0.3, 0.5) if open_list else -1.0]
    exhaustive = not open_list
    family = make.family(kind, nth, names, Shares(scores), close_ms=close)
    family.exhaustive = exhaustive
    held = dates.long_date(day)
    groups = []
    for venue in venues:
        title = f"Who will win the {place} {office} election?"
        event = make.event(
            venue, f"KX{code}-{dates.ticker_date(day)}", title, "Politics", kind, exclusive=True, augmented=open_list and venue is _PM
        )  # fmt: skip
        places = []
        labels = [*people, *(["Another person"] if exhaustive else [])]
        for at, person in enumerate(labels):
            lists_ms = None
            if at >= n and open_list:
                lists_ms = make.now_ms + int(rng.uniform(30, 3600) * 1000)
            state = at if person in people else len(people)
            places.append(len(family.legs))
            make.leg(
                family, event, venue, words.initials(person, at), (state,),
                title=f"Will {person} win the {place} {office} election?" if state < len(people) else f"Will anyone else win the {place} {office} election?",
                label=person, rules=words.race_rules(person if state < len(people) else None, office, place, held, people[:n], open_list=open_list),
                source=f"the certified result published by the {place} election office", strike=("structured", "", ""),
                at=at, lists_ms=lists_ms, open_ms=lists_ms,
            )  # fmt: skip
        family.relations.append(Relation(kind="partition" if exhaustive else "exclusive", legs=tuple(places)))
        groups.append(places)
    if len(venues) == 2:
        _twins(family, groups)
    return family


def _exclusive(make: Maker, nth: int, venues: tuple[Venue, ...], rng: random.Random) -> Family:
    return _race(make, nth, venues, rng, kind="exclusive", open_list=False)


def _augmented(make: Maker, nth: int, venues: tuple[Venue, ...], rng: random.Random) -> Family:
    return _race(make, nth, venues, rng, kind="augmented", open_list=True)


def _game(make: Maker, nth: int, venues: tuple[Venue, ...], rng: random.Random) -> Family:
    home, away, code, league = words.fixture(nth, "game")
    start = make.now_ms + int(rng.uniform(-1.5, 60) * _HOUR)
    start -= start % (15 * _MINUTE)
    close = start + 2 * _HOUR
    close = max(close, make.now_ms + 10 * _MINUTE)
    day = dates.day_of(start)
    family = make.family(
        "game", nth, (home, "tie", away), Shares((rng.gauss(0.2, 0.7), rng.gauss(-0.2, 0.2), 0.0)), close_ms=close
    )
    family.exhaustive = True
    groups = []
    for venue in venues:
        title = f"{home} vs {away}"
        ticker = f"KX{code}GAME-{dates.ticker_date(day)}{words.team_code(home)}{words.team_code(away)}"
        event = make.event(venue, ticker, title, "Sports", "game", exclusive=True)
        places = []
        for at, (state, name) in enumerate(((0, home), (1, "Tie"), (2, away))):
            places.append(len(family.legs))
            make.leg(
                family, event, venue, "TIE" if state == 1 else words.team_code(name), (state,),
                title=f"Will {home} vs {away} end in a draw?" if state == 1 else f"Will {name} win on {dates.long_date(day)}?",
                label="Draw" if state == 1 and venue is _PM else name,
                rules=words.game_rules(home, away, league, dates.long_date(day), None if state == 1 else name, venue is _PM),
                source=f"the official match report of the {league}", strike=("structured", "", ""), at=at, fee="sports", pull=3.0,
            )  # fmt: skip
        family.relations.append(Relation(kind="partition", legs=tuple(places)))
        groups.append(places)
    if len(venues) == 2:
        _twins(family, groups)
    return family


def _duel(make: Maker, nth: int, venues: tuple[Venue, ...], rng: random.Random) -> Family:
    home, away, code, league = words.fixture(nth, "duel")
    start = make.now_ms + int(rng.uniform(-1.5, 60) * _HOUR)
    start -= start % (15 * _MINUTE)
    close = max(start + 150 * _MINUTE, make.now_ms + 12 * _MINUTE)
    day = dates.day_of(start)
    family = make.family("duel", nth, (home, away), Shares((rng.gauss(0.0, 0.8), 0.0)), close_ms=close)
    family.exhaustive = True
    groups: list[list[int]] = []
    for venue in venues:
        title = f"{home} vs. {away}"
        rules = words.duel_rules(home, away, league, dates.long_date(day))
        source = f"the official box score of the {league}"
        ticker = f"KX{code}GAME-{dates.ticker_date(day)}{words.team_code(home)}{words.team_code(away)}"
        event = make.event(venue, ticker, title, "Sports", "duel", exclusive=venue is _K)
        places = [len(family.legs)]
        if venue is _PM:  # one market whose two outcomes carry the teams' names
            make.leg(
                family, event, venue, "ml", (0,), title=title, label="", rules=rules, source=source,
                outcomes=(home, away), fee="sports", pull=3.0,
            )  # fmt: skip
        else:
            for at, name in enumerate((home, away)):
                make.leg(
                    family, event, venue, words.team_code(name), (at,), title=f"{home} at {away} winner?", label=name,
                    rules=f"If {name} wins, this resolves to Yes. {rules}", source=source, at=at,
                    strike=("structured", "", ""), pull=3.0,
                )  # fmt: skip
            places = [len(family.legs) - 2, len(family.legs) - 1]
            family.relations.append(Relation(kind="partition", legs=tuple(places)))
        groups.append(places[:1])
    if len(venues) == 2:
        _twins(family, groups)
    return family


def _joint(make: Maker, nth: int, venues: tuple[Venue, ...], rng: random.Random) -> Family:
    state, year, code = words.statehouse(nth, dates.year_of(make.today))
    day = dates.election_day(year)
    close = dates.end_of_day_ms(day)
    a, b = "Greens", "Liberals"
    boxes = [(s, h) for s in (a, b) for h in (a, b)]
    lean, bond = rng.gauss(0, 0.8), rng.uniform(0.3, 1.5)
    scores = [
        (lean if s == a else -lean) / 2 + (lean if h == a else -lean) / 2 + (bond if s == h else -bond)
        for s, h in boxes
    ]
    names = [f"{s} senate, {h} house" for s, h in boxes]
    family = make.family("joint", nth, names, Shares(scores), close_ms=close)
    family.exhaustive = True
    source = f"the seat counts certified by the {state} secretary of state"
    held = dates.long_date(day)
    for venue in venues:
        title = f"{state} balance of power after the {year} election"
        event = make.event(venue, f"KX{code}BOP-{year}", title, "Politics", "joint", exclusive=True)
        table = []
        for at, (s, h) in enumerate(boxes):
            table.append(len(family.legs))
            make.leg(
                family, event, venue, f"{s[0]}{h[0]}", (at,), title=f"Will the {s} win the {state} senate and the {h} the {state} house in {year}?",
                label=names[at], rules=words.joint_rules(state, held, s, h), source=source, strike=("custom", "", ""), at=at,
            )  # fmt: skip
        family.relations.append(Relation(kind="partition", legs=tuple(table)))
        sides = {}
        for chamber, pick in (("senate", 0), ("house", 1)):
            title = f"Which party wins the {state} {chamber} in {year}?"
            event = make.event(
                venue, f"KX{code}{chamber[0].upper()}-{year}", title, "Politics", "joint", exclusive=True
            )
            pair = []
            for at, party in enumerate((a, b)):
                pair.append(len(family.legs))
                make.leg(
                    family, event, venue, party[0], [i for i, box in enumerate(boxes) if box[pick] == party],
                    title=f"Will the {party} win the {state} {chamber} in {year}?", label=party,
                    rules=words.chamber_rules(state, chamber, held, party), source=source, strike=("custom", "", ""), at=at,
                )  # fmt: skip
                sides[chamber, party] = pair[-1]
            family.relations.append(Relation(kind="partition", legs=tuple(pair)))
        for place, (s, h) in zip(table, boxes, strict=True):
            senate, house = sides["senate", s], sides["house", h]
            family.relations.append(Relation(kind="implies", legs=(place, senate)))
            family.relations.append(Relation(kind="implies", legs=(place, house)))
            family.relations.append(Relation(kind="joint", legs=(place, senate, house)))
    return family


# ------------------------------------------------------------------ numbers on a line


def _threshold(make: Maker, nth: int, venues: tuple[Venue, ...], rng: random.Random) -> Family:
    asset, code, level, unit = words.asset(nth, "threshold")
    day = make.days_ahead(rng, 1, 25)
    rungs = rng.choice((5, 6, 7, 8, 9, 11))
    step = words.nice_step(level * rng.uniform(0.008, 0.03))
    base = round(level / step) * step
    strikes = [base + (i - rungs // 2) * step for i in range(rungs)]
    names = [f"at most {words.number(strikes[0])}"] + [f"above {words.number(k)}" for k in strikes]
    close = dates.at_hour_ms(day, 16)
    scale = step * rng.uniform(0.8, 2.0)
    process = Line(strikes, base + rng.gauss(0, 1.2) * step, scale, make.now_ms - 2 * _DAY, close)
    family = make.family("threshold", nth, names, process, close_ms=close)
    source = f"the settlement price of {asset} published by its exchange"
    groups = []
    for venue in venues:
        title = f"{asset} settlement on {dates.long_date(day)}"
        event = make.event(venue, f"KX{code}D-{dates.ticker_date(day)}", title, "Financials", "threshold")
        places = []
        for at, strike in enumerate(strikes):
            shown = words.number(strike)
            places.append(len(family.legs))
            make.leg(
                family, event, venue, f"T{words.plain(strike)}", range(at + 1, rungs + 1),
                title=f"Will {asset} settle above {unit}{shown} on {dates.long_date(day)}?",
                label=f"{unit}{shown}" if venue is _PM else f"Above {unit}{shown}",
                rules=words.threshold_rules(asset, unit, shown, dates.long_date(day)), source=source,
                strike=("greater", words.plain(strike), ""), at=at, fee="economics" if nth % 2 else "",
                grid="tapered_deci_cent" if nth % 3 == 0 else "linear_cent",
            )  # fmt: skip
        _pairs(family, places[::-1])
        groups.append(places)
    if len(venues) == 2:
        _twins(family, groups)
    return family


def _partition(make: Maker, nth: int, venues: tuple[Venue, ...], rng: random.Random) -> Family:
    city, code, typical = words.city(nth)
    day = dates.plus_days(make.today, 1 + nth // words.N_CITIES % 60)
    n = rng.choice((4, 5, 6, 6, 6, 7, 8))
    centre = typical + rng.randint(-6, 6)
    low = centre - (n - 2)
    cuts = [low + 2 * i - 0.5 for i in range(n - 1)]  # whole degrees: no measurement falls on a cut
    close = dates.at_hour_ms(day, 23)
    process = Line(cuts, centre + rng.gauss(0, 1.0), rng.uniform(1.0, 2.2), make.now_ms - _DAY, close)
    names = (
        [f"{low - 1} or below"]
        + [f"{low + 2 * i} to {low + 2 * i + 1}" for i in range(n - 2)]
        + [f"{low + 2 * (n - 2)} or above"]
    )
    family = make.family("partition", nth, names, process, close_ms=close)
    family.exhaustive = True
    date = dates.long_date(day)
    source = f"the daily climate report of the weather service for {city}"
    groups = []
    for venue in venues:
        event = make.event(
            venue, f"KXHIGH{code}-{dates.ticker_date(day)}", f"Highest temperature in {city} on {date}", "Climate and Weather", "partition", exclusive=True
        )  # fmt: skip
        places = []
        for at in range(n):
            floor, cap = low + 2 * (at - 1), low + 2 * at - 1
            if at == 0:
                suffix, strike, label = f"T{low}", ("less", "", str(low)), f"{low - 1}°F or below"
                said = f"{low - 1}°F or lower"
            elif at == n - 1:
                suffix, strike, label = f"T{floor - 1}", ("greater", str(floor - 1), ""), f"{floor}°F or above"
                said = f"{floor}°F or higher"
            else:
                suffix, strike, label = f"B{floor + 0.5}", ("between", str(floor), str(cap)), f"{floor}-{cap}°F"
                said = f"between {floor}°F and {cap}°F, both included"
            places.append(len(family.legs))
            make.leg(
                family, event, venue, suffix, (at,), title=f"Will the highest temperature in {city} on {date} be {said}?",
                label=label, rules=words.temperature_rules(city, date, said), source=source, strike=strike, at=at,
            )  # fmt: skip
        family.relations.append(Relation(kind="partition", legs=tuple(places)))
        groups.append(places)
    if len(venues) == 2:
        _twins(family, groups)
    return family


def _line(make: Maker, nth: int, venues: tuple[Venue, ...], rng: random.Random) -> Family:
    asset, code, level, unit = words.asset(nth, "line")
    day = dates.plus_days(make.today, 1 + nth // 8)
    hour = 10 + nth % 8
    step = words.nice_step(level * 0.006)
    n = rng.choice((5, 6, 7, 9))
    base = round(level / step) * step
    cuts = [base + (i - n // 2) * step for i in range(n)]
    cent = 10 ** -words.decimals(level)
    close = dates.at_hour_ms(day, hour)
    process = Line(cuts, base + rng.gauss(0, 1) * step, step * rng.uniform(0.8, 1.6), make.now_ms - _DAY, close)
    names = [f"below {words.number(cuts[0])}"] + [f"from {words.number(c)}" for c in cuts]
    family = make.family("line", nth, names, process, close_ms=close)
    family.exhaustive = True
    when = f"{dates.clock(hour)} ET on {dates.long_date(day)}"
    source = f"the one-minute average of the {asset} reference index before {when}"
    for venue in venues:
        stamp = f"{dates.ticker_date(day)}{hour:02d}"
        event = make.event(
            venue, f"KX{code}-{stamp}", f"{asset} price range at {when}", "Crypto", "line", exclusive=True
        )
        cells = []
        for at in range(n + 1):
            if at == 0:
                suffix, strike, said = (
                    f"T{words.plain(cuts[0])}",
                    ("less", "", words.plain(cuts[0])),
                    f"below {unit}{words.number(cuts[0])}",
                )
            elif at == n:
                floor = words.plain(cuts[-1] - cent)
                suffix, strike, said = f"T{floor}", ("greater", floor, ""), f"{unit}{words.number(cuts[-1])} or above"
            else:
                cap = cuts[at] - cent
                suffix = f"B{words.plain((cuts[at - 1] + cuts[at]) / 2)}"
                strike = ("between", words.plain(cuts[at - 1]), words.plain(cap))
                said = f"{unit}{words.number(cuts[at - 1])} to {unit}{words.number(cap)}"
            cells.append(len(family.legs))
            make.leg(
                family, event, venue, suffix, (at,), title=f"Will {asset} be {said} at {when}?", label=said[0].upper() + said[1:],
                rules=words.line_rules(asset, said, when), source=source, strike=strike, at=at, fee="crypto", grid="tapered_deci_cent",
            )  # fmt: skip
        family.relations.append(Relation(kind="partition", legs=tuple(cells)))
        event = make.event(venue, f"KX{code}D-{stamp}", f"{asset} above at {when}", "Crypto", "line")
        rungs = []
        for at, cut in enumerate(cuts):
            floor = words.plain(cut - cent)
            rungs.append(len(family.legs))
            make.leg(
                family, event, venue, f"T{floor}", range(at + 1, n + 1), title=f"Will {asset} be {unit}{words.number(cut)} or above at {when}?",
                label=f"{unit}{words.number(cut)} or above", rules=words.line_rules(asset, f"{unit}{words.number(cut)} or above", when),
                source=source, strike=("greater", floor, ""), at=at, fee="crypto", grid="tapered_deci_cent",
            )  # fmt: skip
        _pairs(family, rungs[::-1])
        family.relations.append(Relation(kind="equivalent", legs=(cells[-1], rungs[-1])))
        for at, cell in enumerate(cells[1:-1]):
            family.relations.append(Relation(kind="implies", legs=(cell, rungs[at])))
    return family


def _totals(make: Maker, nth: int, venues: tuple[Venue, ...], rng: random.Random) -> Family:
    home, away, code, league = words.fixture(nth, "totals")
    start = make.now_ms + int(rng.uniform(1, 60) * _HOUR)
    start -= start % (15 * _MINUTE)
    day = dates.day_of(start)
    n = rng.randint(4, 8)
    lines = [i + 1.5 for i in range(n)]
    names = ["at most 1 goal"] + [f"over {line}" for line in lines]
    process = Line(lines, rng.uniform(1.8, 4.0), rng.uniform(0.6, 1.1))
    family = make.family("totals", nth, names, process, close_ms=start + 2 * _HOUR)
    groups = []
    for venue in venues:
        ticker = f"KX{code}TOTAL-{dates.ticker_date(day)}{words.team_code(home)}{words.team_code(away)}"
        event = make.event(venue, ticker, f"{home} vs {away}: total goals", "Sports", "totals")
        places = []
        for at, line in enumerate(lines):
            places.append(len(family.legs))
            make.leg(
                family, event, venue, str(at + 2) if venue is _K else f"ou{line}", range(at + 1, n + 1),
                title=f"{home} vs {away}: over {line} goals?" if venue is _K else f"{home} vs. {away}: O/U {line}",
                label=f"Over {line} goals scored" if venue is _K else f"O/U {line}",
                rules=words.total_rules(home, away, league, dates.long_date(day), line), source=f"the official match report of the {league}",
                outcomes=("Yes", "No") if venue is _K else ("Over", "Under"), strike=("greater", str(line), ""), at=at, fee="sports",
            )  # fmt: skip
        _pairs(family, places[::-1])
        groups.append(places)
    if len(venues) == 2:
        _twins(family, groups)
    return family


def _touch(make: Maker, nth: int, venues: tuple[Venue, ...], rng: random.Random) -> Family:
    asset, code, level, unit = words.asset(nth, "touch")
    day = make.days_ahead(rng, 4, 60)
    close = dates.end_of_day_ms(day)
    step = words.nice_step(level * rng.uniform(0.03, 0.06))
    base = round(level / step) * step
    n_up, n_down = rng.randint(2, 5), rng.randint(2, 4)
    up = [base + (i + 1) * step for i in range(n_up)]
    down = [base - (i + 1) * step for i in range(n_down)]
    names = [f"{i} up, {j} down" for i in range(n_up + 1) for j in range(n_down + 1)]
    process = Reach([i + 1.0 for i in range(n_up)], [i + 1.0 for i in range(n_down)], rng.uniform(0.6, 1.4))
    family = make.family("touch", nth, names, process, close_ms=close)
    first = dates.long_date(make.today)
    last = dates.long_date(day)
    source = f"one-minute candles of {asset} on its primary exchange"
    groups = []
    for venue in venues:
        event = make.event(
            venue, f"KX{code}HIT-{dates.ticker_date(day)}", f"What will {asset} hit by {last}?", "Crypto", "touch"
        )  # fmt: skip
        chains = []
        at = 0
        for arrow, word, rungs in (("↑", "HIGH", up), ("↓", "LOW", down)):
            chain = []
            for i, rung in enumerate(rungs):
                if arrow == "↑":
                    states = [a * (n_down + 1) + b for a in range(i + 1, n_up + 1) for b in range(n_down + 1)]
                else:
                    states = [a * (n_down + 1) + b for a in range(n_up + 1) for b in range(i + 1, n_down + 1)]
                shown = f"{unit}{words.number(rung)}"
                chain.append(len(family.legs))
                make.leg(
                    family, event, venue, f"{word[0]}{words.plain(rung)}", states,
                    title=f"Will {asset} hit ({word}) {shown} by {last}?", label=f"{arrow} {shown}",
                    rules=words.touch_rules(asset, shown, word == "HIGH", first, last), source=source, at=at, fee="crypto",
                    strike=("greater_or_equal" if arrow == "↑" else "less_or_equal", words.plain(rung) if arrow == "↑" else "", "" if arrow == "↑" else words.plain(rung)),
                )  # fmt: skip
                at += 1
            _pairs(family, chain[::-1])
            chains += chain
        groups.append(chains)
    if len(venues) == 2:
        _twins(family, groups)
    return family


def short_window(make: Maker, coin: int, venue: Venue, window_ms: int, start_ms: int) -> Family:
    """One short up-or-down window of a coin; windows of a coin follow each other without end."""
    name, code = words.coin(coin)
    close = start_ms + window_ms
    minutes = window_ms // _MINUTE
    seed = ids.stream_seed(make.seed, "window", venue, coin, window_ms, start_ms)
    rng = random.Random(seed)
    process = Line((0.0,), rng.gauss(0, 0.05), 1.0, start_ms, close)
    key = f"updown-{venue}-{code}-{minutes}-{start_ms // 1000}"
    family = Family(
        key, "updown", ("down", "up"), process, close_ms=close, resolve_ms=close + rng.randint(5_000, 40_000)
    )
    family.window_ms = window_ms
    # Windows are made while the world runs, in an order that depends on who asks: their numbers come from their time.
    number = 4_000_000 + (start_ms // _MINUTE % 10_000_000) * 20 + coin * 3 + (window_ms > 5 * _MINUTE)
    begin, end = dates.et_clock(start_ms), dates.et_clock(close)
    day = dates.day_of_et(start_ms)
    span = f"{dates.long_date(day)}, {begin} to {end} ET"
    title = f"{name} up or down: {span}" if venue is _PM else f"{name} price up in next {minutes} minutes?"
    event = make.event(
        venue, f"KX{code}{minutes}M-{dates.ticker_date(day)}{dates.et_digits(close)}", title, "Crypto", "updown",
        series=f"{code.lower()}-up-or-down-{minutes}m", number=number,
    )  # fmt: skip
    leg = make.leg(
        family, event, venue, dates.et_digits(close)[-2:], (1,), title=title, label="" if venue is _PM else "Target price: set at the start",
        rules=words.window_rules(name, span), source=f"the {name} reference stream of the price oracle",
        outcomes=("Up", "Down") if venue is _PM else ("Yes", "No"), strike=("greater_or_equal", "", ""), fee="crypto",
        open_ms=start_ms - window_ms, grid="tapered_deci_cent", number=number,
    )  # fmt: skip
    leg.pull *= 40 * math.exp(rng.gauss(0, 0.4))
    leg.listed.related = {"family": family.key, "kind": "updown", "states": "1", "of": "2"}
    return family


_KINDS: dict[str, Callable[[Maker, int, tuple[Venue, ...], random.Random], Family]] = {
    "binary": _binary,
    "deadline": _deadline,
    "exclusive": _exclusive,
    "augmented": _augmented,
    "game": _game,
    "duel": _duel,
    "joint": _joint,
    "threshold": _threshold,
    "partition": _partition,
    "line": _line,
    "totals": _totals,
    "touch": _touch,
}

_BOTH = (_PM, _K)
CARDS: tuple[Card, ...] = (
    Card("game", _BOTH), Card("threshold", _BOTH), Card("partition", _BOTH), Card("deadline", _BOTH),
    Card("exclusive", _BOTH), Card("binary", _BOTH), Card("binary", _BOTH), Card("duel", _BOTH),
    Card("touch", (_PM,)), Card("augmented", (_PM,)), Card("augmented", (_PM,)), Card("joint", (_PM,)),
    Card("exclusive", (_PM,)), Card("deadline", (_PM,)), Card("threshold", (_PM,)), Card("partition", (_PM,)),
    Card("duel", (_PM,)), Card("duel", (_PM,)), Card("game", (_PM,)), Card("totals", (_PM,)),
    Card("binary", (_PM,)), Card("binary", (_PM,)), Card("binary", (_PM,)), Card("binary", (_PM,)),
    Card("line", (_K,)), Card("joint", (_K,)), Card("totals", (_K,)), Card("game", (_K,)), Card("duel", (_K,)),
    Card("exclusive", (_K,)), Card("threshold", (_K,)), Card("partition", (_K,)), Card("deadline", (_K,)),
    Card("binary", (_K,)), Card("binary", (_K,)),
)  # fmt: skip
"""One deck of families; a universe deals it again and again until its venues are full."""
