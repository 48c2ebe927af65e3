"""Let coverage guide hostile bytes into every parser (libFuzzer, by way of atheris).

    uv run --group fuzz python scripts/fuzz.py                    # every target of tests/fuzz, 60 s each
    uv run --group fuzz python scripts/fuzz.py --seconds 600 kalshi_feed
    uv run --group fuzz python scripts/fuzz.py --seconds 0 --again crash-… kalshi_feed

The targets are those that hypothesis draws for in every test run; here an input that reaches new code is kept and grown.
What was learnt is kept under ``.fuzz/`` and taken up by the next run. Exits with 1 if a target let an undeclared error pass;
the input is left in ``.fuzz/`` and named. The group installs atheris on Linux x86-64 with CPython 3.11 only: elsewhere this
says so and exits with 0.
"""

from __future__ import annotations

import argparse
import importlib.util
import random
import re
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
KEPT = ROOT / ".fuzz"
LONGEST = 400
SEEDS = 200


def inside(name: str, arguments: list[str]) -> None:
    """One target in this process; libFuzzer ends it."""
    import atheris

    sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "src")]
    with atheris.instrument_imports(include=["overround"]):
        from fuzz.targets import TARGETS
    atheris.Setup([sys.argv[0], *arguments], TARGETS[name])
    atheris.Fuzz()


def outside(name: str, seconds: float, again: str) -> bool:
    """One target in a process of its own; whether nothing was found."""
    corpus = KEPT / name
    corpus.mkdir(parents=True, exist_ok=True)
    rng = random.Random(f"overround {name}")
    for n in range(SEEDS):
        seed = corpus / f"seed-{n:03}"
        seed.write_bytes(rng.randbytes(rng.randrange(8, 160)))
    options = [f"-max_len={LONGEST}", f"-artifact_prefix={KEPT}/{name}-", "-rss_limit_mb=4096", "-timeout=30"]
    options += [again] if again else [f"-max_total_time={seconds:g}", str(corpus)]
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, __file__, "--inside", name, *options], cwd=ROOT, capture_output=True, text=True, check=False
    )
    told = done.stdout + done.stderr
    runs = re.findall(r"Done (\d+) runs|stat::number_of_executed_units: (\d+)|^#(\d+)\s", told, re.MULTILINE)
    count = max((int(next(filter(None, each))) for each in runs), default=0)
    reached = re.findall(r"cov: (\d+)", told)
    print(
        f"{name}: {count:,} runs in {time.monotonic() - began:.0f} s, {reached[-1] if reached else '?'} places reached, "
        + ("nothing found" if done.returncode == 0 else f"exit {done.returncode}"),
        flush=True,
    )
    if done.returncode:
        print(told[-6_000:])
    return done.returncode == 0


def main() -> int:
    if sys.argv[1:2] == ["--inside"]:
        inside(sys.argv[2], sys.argv[3:])
        return 0
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", help="all when none is named")
    parser.add_argument("--seconds", type=float, default=60.0, help="for each target (60)")
    parser.add_argument("--again", default="", metavar="FILE", help="run one input that was left behind")
    args = parser.parse_args()
    if importlib.util.find_spec("atheris") is None:
        print("atheris is not installed here: uv sync --group fuzz, on Linux x86-64 with CPython 3.11")
        return 0
    sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "src")]
    from fuzz.targets import TARGETS

    clean = [outside(name, args.seconds, args.again) for name in args.targets or TARGETS]
    return 0 if all(clean) else 1


if __name__ == "__main__":
    sys.exit(main())
