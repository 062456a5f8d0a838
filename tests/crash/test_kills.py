"""A 250 is kept: the relay is killed under load, hundreds of times, at moments that it does not
choose, and at those that we do. RELAY_CRASH_KILLS is how often; RELAY_CRASH_SEED repeats a run."""

import os
import random
import signal
import time
from pathlib import Path

import pytest
from crash.load import Load, until
from crash.premises import Place, place
from crash.reckoning import Reckoning
from support.certificates import Certificates

KILLS = int(os.environ.get("RELAY_CRASH_KILLS", "10"))
SEED = int(os.environ.get("RELAY_CRASH_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 31)
_SESSIONS = 6


@pytest.mark.timeout(120 + 3 * KILLS)
def test_every_message_that_got_its_250_is_relayed_or_dead(
    certificates: Certificates, tmp_path: Path
) -> None:
    print(f"RELAY_CRASH_SEED={SEED}")
    chance = random.Random(SEED)
    with place(certificates, tmp_path, seed=SEED) as here:
        with Load(here.port, _SESSIONS, SEED) as load:
            for _ in range(KILLS):
                _live_and_die(here, chance)
        here.relay.start()
        until(lambda: not here.waiting(), timeout_s=60)
        here.relay.stop()
        reckoning = Reckoning(here.store, here.arrived())
        reckoning.check(load.promised)
        assert not reckoning.waiting
        # Only dead letters have any left.
        assert here.spooled() == reckoning.spools
        figures = reckoning.figures(KILLS, load.promised, load.unanswered)
        print(figures)
        assert figures.promised > 5 * KILLS


def _live_and_die(here: Place, chance: random.Random) -> None:
    if chance.random() < 0.15:
        process = here.relay.begin()
        time.sleep(chance.uniform(0, 0.6))
        assert process.poll() is None, here.relay.diagnostics
    else:
        here.relay.start()
        time.sleep(chance.uniform(0, 0.6))
        if chance.random() < 0.2:
            os.kill(here.relay.pid, signal.SIGHUP)
            time.sleep(chance.uniform(0, 0.1))
    here.relay.kill()
