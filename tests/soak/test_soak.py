"""A long run: steady mail of several tenants while all sorts of things happen. What the relay
takes stays flat, and its trail is the truth. SOAK_MINUTES is how long; without it a few seconds, so
that this does not rot. SOAK_SEED repeats what happens."""

import contextlib
import os
import random
import sqlite3
import time
from collections import Counter
from pathlib import Path

import pytest
from crash.load import Load, until
from crash.premises import _scripts
from soak.account import Account, Taker
from soak.troubles import SoakedRelay, Troubles
from soak.vitals import Vitals, growth, table
from support.certificates import Certificates
from support.configs import two_tenants, upstream_entry
from support.ports import free_port

SECONDS = float(os.environ.get("SOAK_MINUTES", "0.25")) * 60
SEED = int(os.environ.get("SOAK_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 31)
_LONG = SECONDS >= 120
# Events are read every half second; they must not be gone by then.
_KEEP_S = 30 if _LONG else 6
_SESSIONS = 4
# From the first quarter to the last of the relay's last life, warm-up apart. In a short run it is
# still filling its caches.
_MAY_GROW = {
    "memory": 6.0 if _LONG else 24.0,
    "descriptors": 12,
    "threads": 2,
    "store": 4.0,
    "log": 4.0,
}
_FREE_MIB = 4.0  # pages that are kept for the mail to come
_LOG_MIB = 16.0


@pytest.mark.timeout(180 + 1.5 * SECONDS)
def test_what_it_takes_stays_flat_and_its_trail_is_the_truth(
    certificates: Certificates, tmp_path: Path
) -> None:
    print(f"\nSOAK_SEED={SEED}")
    (tmp_path / "store").mkdir()
    store = tmp_path / "store" / "relay.db"
    with contextlib.ExitStack() as stack:
        upstreams = [
            stack.enter_context(
                Taker(certificates.good(), tls="implicit", users={name: "secret"}, script=script)
            )
            for name, script in _scripts(SEED).items()
        ]
        relay = _relay(certificates, tmp_path, upstreams, store)
        stack.callback(relay.end)
        relay.start()
        vitals = stack.enter_context(Vitals(lambda: relay.pid_or_none, store))
        account = stack.enter_context(Account(store))
        troubles = Troubles(relay, upstreams, SEED)
        with Load(relay.port, _SESSIONS, SEED, weights=(970, 28, 2), pause_s=0.05) as load:
            troubles.go_on(SECONDS / 3, kills=True)
            troubles.go_on(SECONDS * 2 / 3, kills=False)
            life, vitals.samples = vitals.last_life(), []
        until(lambda: not _count(store, "IS NULL"), timeout_s=60)
        until(lambda: not _count(store, "IS NOT NULL"), timeout_s=60 + 2 * _KEEP_S, every_s=0.5)
        time.sleep(1)
        after = vitals.samples[-1]
        assert relay.stop() == 0
    taken = sum((upstream.taken for upstream in upstreams), Counter())
    account.check(load.promised, taken)
    _report(load, account, troubles, taken)
    print(table(life))
    grown = {what: round(growth(life, what), 1) for what in _MAY_GROW}
    assert all(grown[what] <= most for what, most in _MAY_GROW.items()), grown
    assert max(sample.log for sample in life) < _LOG_MIB + 4
    print(f"after retention: store {after.store:.1f} MiB, log {after.log:.1f}, spool {after.spool}")
    assert after.spool == 0
    names = ("config.rejected", "config.reloaded")
    happened = troubles.happened["reload badly"], troubles.happened["reload"]
    assert tuple(len(account.named(name)) for name in names) == happened


def _relay(
    certificates: Certificates, folder: Path, upstreams: list[Taker], store: Path
) -> SoakedRelay:
    port, http = free_port(), free_port()
    config = two_tenants(
        folder,
        port,
        *(upstream_entry(upstream, certificates.ca_file) for upstream in upstreams),
        store=f"sqlite://{store}",
        http={"listen": f"127.0.0.1:{http}"},
        audit={"keep": f"{_KEEP_S}s"},
        queue={"keep_dead": f"{_KEEP_S}s"},
        suppression={"after": 1, "expire": f"{_KEEP_S}s"},
    )
    relay = SoakedRelay(folder, config, port)
    relay.http = http
    return relay


def _count(store: Path, where: str) -> int:
    with contextlib.closing(sqlite3.connect(store)) as connection:
        query = f"SELECT count(*) FROM message WHERE dead_since {where}"
        count: int = connection.execute(query).fetchone()[0]
    return count


def _report(
    load: Load, account: Account, troubles: Troubles, taken: Counter[tuple[str, str]]
) -> None:
    twice = {queue_id for (queue_id, _), count in taken.items() if count > 1}
    told = Counter(event["event"] for event in account.events.values())
    happened = ", ".join(f"{kind} {count}" for kind, count in sorted(troubles.happened.items()))
    print(
        f"{len(load.promised)} messages had their 250, none is lost; {len(twice)} came twice, "
        f"marked; {load.unanswered} final dots without a reply, {len(load.refused)} refused\n"
        f"{happened}\n" + ", ".join(f"{name} {count}" for name, count in sorted(told.items()))
    )
