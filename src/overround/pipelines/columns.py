"""What each column of the lake means: from the docstring of what is stored, or, where rows are flat, from here.

A column without words is an error when the page on the schema is written: nobody adds one silently.
"""

from __future__ import annotations

import inspect
import re
from typing import Any

from overround.market import Market
from overround.pipelines.read_rules import RulesRow
from overround.rules.review import QueueItem, Ruling
from overround.storage.quarantine import QuarantineEntry
from overround.storage.stats import STATS_SCHEMA

__all__ = ["meaning_of", "since_of", "unit_of"]

_DOCUMENTED: dict[str, type[Any]] = {
    "universe": Market,
    "rules": RulesRow,
    "review_queue": QueueItem,
    "review_decisions": Ruling,
    "quarantine": QuarantineEntry,
}
_KEY = """
venue       | `polymarket` or `kalshi`.
market_id   | Polymarket: condition id. Kalshi: ticker.
outcome_id  | Polymarket: token id. Kalshi: `yes` or `no`.
"""
_STATS = """
spread       | probability | Best ask less best bid, over the time with two sides.
rel_spread   | | Spread over `p(1-p)`, `p` the mid.
depth_1      | contracts | On both sides no more than one tick behind the best price.
depth_2      | contracts | No more than two ticks behind it.
depth_5      | contracts | No more than five ticks behind it.
depth_top3   | contracts | In the best three levels of both sides.
two_sided    | | Part of the watched time with two sides.
imbalance    | | Size at the best bid less that at the best ask, over their sum.
mid          | probability | Mean mid.
age_s        | s | Time since the book's last change.
updates_per_min | 1/min | Rows with another best price or size than the row before.
changes_per_min | 1/min | Changes of any level.
volatility   | probability per root hour | Root of the sum of squared moves of the microprice.
logit_volatility | log-odds per root hour | The same of its log-odds.
trades_per_h | 1/h | Trades.
volume_per_h | contracts/h | Contracts traded.
turnover_per_h | USD/h | Paid by takers.
roll_spread  | probability | Twice the root of the negative covariance of successive trade price moves.
kyle_lambda  | probability per 1,000 contracts | Slope of the mid's move on the taker's net volume.
amihud       | probability per 1,000 USD | Absolute moves of the mid over the dollars traded meanwhile.
ofi          | | Order-flow imbalance of the best quotes, net over absolute.
ofi_slope    | probability per 1,000 contracts | Slope of the mid's move on it.
vpin         | | Part of the volume that one side was ahead by.
tick         | probability | The coarsest of 0.01, 0.001 and 0.0001 that fits all best prices seen.
spread_ticks | ticks | Spread over the tick.
burstiness   | | Variance over mean of the changes in ten seconds; 1 where they come by chance.
corwin_schultz | probability | Spread from highs and lows of trade prices.
interest     | | Mean of six ranks among the day's markets, 0 to 1.
"""
_MEASURED = """
verified_share | | Part of the wanted time that is verified.
included_s   | s | Time in the sets of the rotation.
n_stays      | | Stays in them.
watched_s     | s | Time in which the market was watched and no gap lay.
watched_share | | Its part of the time recorded.
n_units       | | Stretches that were watched together: the `n` of intervals.
"""
_QUOTING = """
quoted_spread | probability | Spread over the time with two sides.
quoted_share  | | That time's part of the watched time.
competition   | contracts | Displayed at both touches.
capital       | USD | Bound by both orders.
day_move      | probability per root day | Root of the squared moves of the mid.
jump          | probability | Largest move of the mid in ten seconds.
fills         | 1/day | Fills, quoting all day.
contracts     | contracts/day | Contracts filled.
edge          | USD/contract | What a fill was ahead of the mid when it happened.
markout_1s    | USD/contract | What it is ahead of the mid one second later.
markout_5s    | USD/contract | Five seconds later.
markout_30s   | USD/contract | Thirty seconds later.
markout_300s  | USD/contract | Five minutes later.
fees          | USD/day | By the market's dated schedule.
rebates       | USD/day | The maker's share of what the taker pays.
carried       | USD/day | What bought and sold contracts gain, carried along at the mid.
fills_seen    | | Fills that figures rest on.
judged1_share | | Part of the contracts that could be judged after one second.
judged5_share | | After five seconds.
judged30_share | | After thirty seconds.
judged300_share | | After five minutes.
usd_per_day   | USD/day | Contracts times the markout, less fees, with rebates and rewards.
carried_usd   | USD/day | The same if all is carried along at the mid; without rewards.
"""
_WORDS: dict[str, str] = {
    "snapshots": """
ts_recv     | ms | When the row was taken.
seq         | | Our count of applied changes of this outcome's book; grows within a run.
best_bid_px | probability | Highest bid; NaN when there is none.
best_bid_sz | contracts | At the best bid; 0 when there is none.
best_ask_px | probability | Lowest ask; NaN when there is none.
best_ask_sz | contracts | At the best ask; 0 when there is none.
mid         | probability | Half way between the best prices; NaN unless both sides exist.
spread      | probability | Best ask less best bid; NaN unless both sides exist.
bid_px      | probability | Bid prices, highest first, at most `top_k`.
bid_sz      | contracts | At these prices.
ask_px      | probability | Ask prices, lowest first, at most `top_k`.
ask_sz      | contracts | At these prices.
status      | | The first that applies: `stale`, `empty`, `partial`, `ok`.
err         | | Why, where something is wrong; null otherwise.
source_ts   | ms | Venue time of the book's last change.
integrity   | | How far the book is proved: `verified`, `unverified`, `suspect`, `stale`, `gap`.
""",
    "trades": """
ts_recv     | ms | When the print came; it decides the bucket.
first       | | Whether the outcome is the market's first; if not, the price seen from the first is `1 - px`.
px          | probability | Price; an average over levels may be finer than the tick.
sz          | contracts | Size.
taker_side  | | What the taker did with this outcome, `buy` or `sell`; null where the venue does not say.
source_ts   | ms | Venue time.
trade_id    | | Kalshi's id of the trade; Polymarket's hash of the transaction, which several trades may share.
block       | | Matched off the book.
book_sz     | contracts | What joined changes of the book took from the print's level; null where prints are not joined.
book_seq    | | The venue's number of the last of these changes.
""",
    "coverage": """
minute      | ms | Start of the minute.
verified_s  | s | Live, and proved not longer than a minute ago.
unverified_s | s | Live without any proof; of the venue: time with a connection.
quiet_s     | s | Live, but the last proof is older than a minute.
gap_s       | s | Updates are missing, or the book is known to be wrong.
not_subscribed_s | s | Before the market entered, or after it left.
venue_down_s | s | No connection to the venue at all.
updates     | | Changes applied.
snapshots   | | Rows stored.
repairs     | | Gaps ended.
live_mask   | | Bit `k` is set when the book was held to be right during second `k`, or a part of it.
until_ms    | ms | The last instant that the row accounts for.
""",
    "gaps": """
start_ms    | ms | The last instant known good.
end_ms      | ms | The first whole book again; null while it lasts.
detected_ms | ms | When it was noticed.
cause       | | A code of `err`, `no_book`, `suspect`, `rows_lost` or `collector_down`.
repair      | | What ended it: a repair step, `unsubscribed`, `closed` or `stopped`.
repair_steps | | Steps taken meanwhile.
connection  | | Name of the connection that carried the market.
detail      | | The feed's words.
""",
    "inclusion": """
start_ms    | ms | When it entered.
end_ms      | ms | When it left; null while it lasts.
set         | | `hot`, `warm` or `leaving`.
score       | | By which the scheduler ranked it when it entered.
reason      | | Why it left.
""",
    "stats": f"""
n_snapshots | | Rows read.
n_ok        | | Rows that averages rest on: both sides, status `ok`.
avg_depth_top3 | contracts | Mean of the best three levels of both sides over these rows; null where there is none.
avg_spread  | probability | Mean spread over these rows; null where there is none.
quote_updates | | Rows with another best price or size than the row before.
first_ts    | ms | First row.
last_ts     | ms | Last row.
observed_ms | ms | Time that rows stand for.
{_MEASURED}{_STATS}""",
    "mm_viability": f"""
version     | | Of the table.
verdict     | | `viable`, `loses`, `uncertain`, `one-sided`, `closing`, `fees unknown` or `too little seen`.
reason      | | The verdict in words.
policy      | | The better of `touch` and `inside`.
cancels_ahead | | How much more than evenly cancels fell on what stood ahead of a quote.
cancels_ahead_source | | Whether that was fitted, asked for, or the default, in words.
two_sided   | | Part of the rows with two sides.
judged_after_s | s | After how long fills were judged.
reward_share | | Share of the market's liquidity rewards.
rewards     | USD/day | Liquidity rewards.
hours_to_close | h | From the day's end; null where no end is listed.
size        | contracts | Of each quote.
inventory_risk | USD | What one order's contracts move in a day.
jump_risk   | USD | And in the largest ten seconds seen.
usd_per_day_per_usd | 1/day | Dollars a day per dollar of capital.
{_MEASURED}{_QUOTING}""",
    "propositions": """
ref         | | The venue's other key, or empty.
event_id    | | The event.
family      | | What sort of assertion it is.
subject     | | Whom or what it is about, in canonical words.
measure     | | Which number, deed or title is meant.
values_lo   | `unit` | Lower end of the numbers for which the first outcome is paid; null where open or none.
values_hi   | `unit` | Their upper end.
lo_closed   | | Whether the lower end is paid, too.
hi_closed   | | Whether the upper end is.
unit        | | Of the numbers.
window_kind | | How time enters.
window_start | ms | Begin of the time spoken of.
window_end  | ms | Its end.
zone        | | Time zone of the words.
source      | | Whose word decides.
game        | | Canonical key of the fixture, or empty.
exclusive_set | | Key of the set of which at most one market is paid, or empty.
open_set    | | The set may grow, or legs of it are missing.
confidence  | | Of the reading as a whole, 0 to 1.
reviewed    | | Whether a person decided.
reasons     | | Why the confidence is not higher.
text_hash   | | Of everything that was read.
template_hash | | Of title and rules without numbers and dates.
row_hash    | | Of the row of `rules` that it was read from.
proposition | | The whole reading as JSON.
""",
    "constraints": """
key         | | Names the relation and its legs.
relation    | | `implies`, `exclusive`, `exhaustive`, `partition`, `equivalent`, `joint`, ...
confidence  | | `certain`, `conditional` or `doubtful`.
score       | | Least confidence of the readings it rests on, 0 to 1.
rule        | | Name of the law that was applied.
legs        | | How many outcomes it ties.
markets     | | Their markets.
outcomes    | | Which outcome of each.
conditions  | | What has to hold besides.
constraint  | | The whole as JSON, with its premises.
""",
    "violations": """
venues      | | Of the orders, one an order.
market_ids  | | Of the orders.
forms       | | Under which names the finding is known.
grade       | | How sure it is: the least of what it rests on.
start_ts    | ms | When it was first found.
last_ts     | ms | When it was last found.
end_ts      | ms | When it was first not found any more; null while it stands, and where nobody could look.
peak_ts     | ms | When it was largest; the figures are of then.
seen        | | How often it was found.
profit_usd  | USD | Least profit over all endings.
cost_usd    | USD | Paid for the orders, without fees.
fee_usd     | USD | Fees.
capital_usd | USD | Bound until it settles.
return_per_year | | Profit over capital, by the year; null where the end is not known.
settles_ts  | ms | When the last leg settles.
conditions  | | What has to hold besides.
certificate | | The proof as JSON; `overround rules verify` checks it.
""",
    "universe": """
market_id   | Polymarket: condition id. Kalshi: ticker.
venue       | `polymarket` or `kalshi`.
tags        | Labels or categories.
origin      | `live` or `synthetic`.
event_id    | The event's key.
event_title | Its title.
series_id   | The series' key.
outcome_labels | Captions of the outcomes, in their order.
rules_text  | The rules' words.
rules_source | Whose word decides, as listed.
fee         | Kind and rates of the fee schedule, exact decimal texts.
tick_grid   | Bands of prices and their steps, in 1/10,000.
strike      | The structured threshold, as listed.
exclusivity | What the venue says about the market's siblings.
slug        | In the venue's addresses.
status      | Where it stands: `unopened`, `active`, `paused`, `closed`, `resolved`, `vanished`.
accepts_orders | Whether orders are taken.
""",
    "rules": """
text_hash   | Hash of everything that is read.
""",
    "review_queue": """
wording     | Texts and structured fields, as in `rules`.
proposition | The reading, as in `propositions`.
""",
    "review_decisions": """
decision    | `accept`, `reject` or `correct`.
note        | The reviewer's words.
""",
    "quarantine": """
recv_ns     | When it was received.
""",
}
_UNITS = (
    ("_ts", "ms"),
    ("_ms", "ms"),
    ("_ns", "ns"),
    ("_usdc", "USD"),
    ("_px", "probability"),
    ("_e6", "contracts / 1,000,000"),
    ("rewards_min_size", "contracts"),
)
_ENDS = {
    "_lo": "Lower end of its 95 % interval.",
    "_hi": "Upper end of its 95 % interval.",
    "_se": "Its standard error.",
}
_POLICIES = {
    "touch_": "at the touch",
    "inside_": "one tick inside",
    "answered_": "one tick inside, in a market that answers",
}


def meaning_of(table: str, column: str) -> str:
    """What a column means, in one line.

    Raises
    ------
    KeyError
        If nobody said it.
    """
    return _words(table, column)[1]


def unit_of(table: str, column: str) -> str:
    """A column's unit; empty where it has none."""
    unit, _ = _words(table, column)
    return unit or next((unit for end, unit in _UNITS if column.endswith(end)), "")


def since_of(table: str, column: str) -> int:
    """The version of its table in which a column came."""
    return 2 if table == "stats" and column not in STATS_SCHEMA.names else 1


def _words(table: str, column: str) -> tuple[str, str]:
    said = {**_parsed(_KEY), **_documented(table), **_parsed(_WORDS.get(table, ""))}
    if column in said:
        return said[column]
    end = column[-3:]
    if end in _ENDS and column[:-3] in said:
        return said[column[:-3]][0], f"`{column[:-3]}`: {_ENDS[end][0].lower()}{_ENDS[end][1:]}"
    for policy, where in _POLICIES.items():
        if column.startswith(policy):
            unit, meaning = _words(table, column.removeprefix(policy))
            return unit, f"Quoting {where}: {meaning[0].lower()}{meaning[1:]}"
    if end in _ENDS:
        unit, meaning = _words(table, column[:-3])
        return unit, f"`{column[:-3]}`: {_ENDS[end][0].lower()}{_ENDS[end][1:]}"
    raise KeyError(f"nobody says what {table}.{column} means: add it to {__name__}")


def _parsed(text: str) -> dict[str, tuple[str, str]]:
    """Lines ``name | unit | meaning``, or ``name | meaning`` where the unit is in the name."""
    found = {}
    for line in filter(None, text.splitlines()):
        name, *unit, meaning = (part.strip() for part in line.split("|"))
        found[name] = (unit[0] if unit else "", meaning)
    return found


def _documented(table: str) -> dict[str, tuple[str, str]]:
    """What the docstring of a stored struct says of its attributes."""
    struct = _DOCUMENTED.get(table)
    if struct is None:
        return {}
    section = (inspect.getdoc(struct) or "").partition("Attributes\n----------\n")[2]
    found: dict[str, tuple[str, str]] = {}
    for names, text in re.findall(r"^(\w[\w, ]*) : [^\n]*\n((?:    [^\n]*\n?)*)", section + "\n", re.MULTILINE):
        if meaning := " ".join(text.split()).replace("``", "`").replace("None", "null"):
            found |= dict.fromkeys(names.split(", "), ("", meaning))
    return found
