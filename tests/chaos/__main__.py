"""The long run: `python -m tests.chaos --faults 1000 --readings 500000 --seed 7 --broker both`."""

from __future__ import annotations

import argparse
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from pathlib import Path

import pytest

from tests.chaos import campaign
from tests.chaos.campaign import Broker, Plan


def main() -> int:
    """Run a campaign with each broker and print its table; 1 if anything was lost, doubled or silent."""
    words = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    words.add_argument("--faults", type=int, default=100, help="shared by the brokers")
    words.add_argument("--readings", type=int, default=0, help="go on until so many are stored; shared as well")
    words.add_argument("--seed", type=int, default=campaign.seed())
    words.add_argument("--broker", choices=("nats", "mosquitto", "both"), default="both")
    words.add_argument("--modules", type=int, default=12, help="modules of each of the six banks")
    words.add_argument("--period", type=float, default=0.5, help="seconds between two readings of a module")
    words.add_argument("--calm", type=float, default=1.0, help="mean seconds between two faults")
    words.add_argument("--only", default="", help="ids of faults, with commas")
    words.add_argument("--soak", action="store_true", help="only faults that end no process: nothing may grow (F30)")
    words.add_argument("--folder", type=Path, help="keep everything there")
    told = words.parse_args()
    brokers: tuple[Broker, ...] = ("nats", "mosquitto") if told.broker == "both" else (told.broker,)
    only = tuple(told.only.split(",")) if told.only else ()
    share = len(brokers)
    size = (told.readings // share, told.modules, told.period, told.calm, only, told.soak)
    plans = [Plan((told.faults + at) // share, told.seed, broker, *size) for at, broker in enumerate(brokers)]
    with ProcessPoolExecutor(share) as beside:  # a campaign mostly waits, so the two run beside one another
        right = list(beside.map(one, plans, repeat(told.folder)))
    return not all(right)


def one(plan: Plan, folder: Path | None) -> bool:
    """A campaign with one broker, in a folder of its own, with its table; whether nothing was wrong."""
    print(f"again: {plan.again()}", flush=True)
    with tempfile.TemporaryDirectory(prefix="cellherd-chaos-") as spare:
        place = (folder or Path(spare)) / plan.broker
        place.mkdir(parents=True, exist_ok=True)
        try:
            outcome = campaign.run(plan, place)
        except (Exception, pytest.fail.Exception) as error:  # noqa: BLE001 - said at once: the other campaign may go on for an hour
            print(f"{plan.broker}: {type(error).__name__} {error}"[:4000], flush=True)
            return False
        print(f"\n{outcome.table()}\n", flush=True)
        return outcome.right()


if __name__ == "__main__":
    sys.exit(main())
