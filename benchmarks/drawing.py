"""Draw real markets to be judged: by a seed, stratified by family, with nothing of their readings but the family.

    export OVERROUND_CAPTURES=…
    python benchmarks/drawing.py --seed 20261121 --count 200 > first.jsonl
    python benchmarks/drawing.py --seed 20261122 --count 100 --without tests/rules/judgements/first.jsonl > fresh.jsonl

The records go to standard output, one a line, and are private: only what was judged of them goes into the repository.
A family's share is that of the square root of its size, at least 2.5 %, 40 % of it Kalshi's, one market an event as far
as there are events. The families are those of the grammar at hand: the samples published were drawn at commit c77bc1c.
"""

from __future__ import annotations

import argparse
import gzip
import os
import random
import sys
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from overround.rules import read, wording_of_record

Key = tuple[str, str]


def records(captures: Path) -> dict[Key, dict[str, Any]]:
    """The markets of Polymarket's listing and of the labelled files, the latter where both have one."""
    found: dict[Key, dict[str, Any]] = {}
    listing = captures / "recordings/polymarket/gamma_active_markets_20260311.jsonl.gz"
    for line in gzip.decompress(listing.read_bytes()).splitlines():
        market = msgspec.json.decode(line)
        event = (market.pop("events", None) or [{}])[0]
        key = str(event.get("id") or market.get("slug"))
        found["polymarket", market["id"]] = {"venue": "polymarket", "event_key": key, "event": event, "market": market}
    for venue in ("polymarket", "kalshi"):
        for line in (captures / f"data/markets_{venue}.jsonl").read_bytes().splitlines():
            record = msgspec.json.decode(line)
            found[venue, str(record["market"].get("id") or record["market"].get("ticker"))] = record
    return found


def drawn(found: dict[Key, dict[str, Any]], seed: int, count: int, taken: set[Key]) -> Iterable[tuple[str, Key]]:
    """The family and the key of each market of a sample."""
    rng = random.Random(seed)
    pools: dict[str, dict[str, list[Key]]] = defaultdict(lambda: defaultdict(list))
    for key, record in found.items():
        pools[read(wording_of_record(record)).prop.family.value][key[0]].append(key)
    sizes = {family: sum(map(len, venues.values())) for family, venues in pools.items()}
    whole = sum(size**0.5 for size in sizes.values())
    want = {
        family: min(size, max(round(count * 0.025), round(count * size**0.5 / whole))) for family, size in sizes.items()
    }
    while sum(want.values()) != count:
        largest = max(want, key=lambda family: (want[family], family))
        want[largest] += 1 if sum(want.values()) < count else -1
    events: set[Key] = set()
    for family in sorted(pools):
        left = {venue: sorted(set(keys) - taken) for venue, keys in sorted(pools[family].items())}
        for keys in left.values():
            rng.shuffle(keys)
        kalshi = min(len(left.get("kalshi", [])), round(want[family] * 0.4))
        quota = {"kalshi": kalshi, "polymarket": want[family] - kalshi}
        short = max(0, quota["polymarket"] - len(left.get("polymarket", [])))
        quota = {"kalshi": kalshi + short, "polymarket": quota["polymarket"] - short}
        for venue, number in quota.items():
            got: list[Key] = []
            for once in (True, False):
                for key in left.get(venue, []):
                    event = (venue, found[key]["event_key"])
                    if len(got) < number and key not in got and not (once and event in events):
                        got.append(key)
                        events.add(event)
            yield from ((family, key) for key in got)


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw real markets to be judged.")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument(
        "--without", type=Path, action="append", default=[], help="Judgements whose markets are left out."
    )
    options = parser.parse_args()
    lines = [line for path in options.without for line in path.read_bytes().splitlines()]
    taken = {(one["venue"], one["market_id"]) for one in map(msgspec.json.decode, lines)}
    found = records(Path(os.environ["OVERROUND_CAPTURES"]))
    for family, key in drawn(found, options.seed, options.count, taken):
        sys.stdout.write(msgspec.json.encode({"family": family, **found[key]}).decode() + "\n")


if __name__ == "__main__":
    main()
