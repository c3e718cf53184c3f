"""The vendor's truth equals the ledger: random calls of every dialect with everything that goes wrong.

CHAOS_CALLS=10000 makes it long, CHAOS_SEED=N repeats a run.
"""

import os
import random

from mix import Mix

CALLS = int(os.environ.get("CHAOS_CALLS", "1000"))
SEED = int(os.environ.get("CHAOS_SEED", "0")) or random.randrange(1, 1 << 30)


def test_every_call_is_in_the_ledger_once_and_what_is_exact_is_exact():
    print("seed", SEED)
    mix = Mix(SEED)
    try:
        mix.start(CALLS)
        mix.join()
        mix.settle()
        print(mix.check(killed=False), mix.outcomes)
    finally:
        mix.stop()
