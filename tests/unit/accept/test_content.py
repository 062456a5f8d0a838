"""One content on its way in: what is held, what is spooled, and what a refusal leaves behind."""

from relay.accept.content import Incoming
from relay.accept.stamp import Hop, stamped
from relay.model.budget import Budget
from relay.model.message import Origin
from relay.model.reply import Reply

HOP = Hop("relay.example", Origin("::1", "x"), "ESMTP", "0RQ4MPG92452P", "a@b.example")
FULL = Reply(452, "4.3.1", "full")


class Spool:
    """Records what is done to it, in its order."""

    name = "file"

    def __init__(self) -> None:
        self.done: list[str] = []

    async def write(self, octets: bytes) -> None:
        self.done.append("write")

    async def sync(self) -> None:
        self.done.append("sync")

    def discard(self) -> None:
        self.done.append("discard")


class Keeper:
    def __init__(self, room: int) -> None:
        self.room = room
        self.spool = Spool()

    def refusal(self, size: int) -> Reply | None:
        return FULL if size > self.room else None

    def new_spool_file(self) -> Spool:
        return self.spool


def incoming(keeper: Keeper, budget: Budget) -> Incoming:
    return Incoming(lambda header: stamped(header, HOP), keeper, budget, 10**9)


async def test_a_refused_spool_file_is_not_written_to_any_more() -> None:
    keeper, budget = Keeper(room=3_000_000), Budget(10**8)
    content = incoming(keeper, budget)
    await content.take(b"Subject: x\r\n\r\n")
    for _ in range(60):
        await content.take(b"x\r\n" * 30_000)
    assert await content.finish() is None
    assert content.refusal == FULL
    first_discard = keeper.spool.done.index("discard")
    assert set(keeper.spool.done[first_discard:]) == {"discard"}
    content.release()
    assert budget.used == 0


async def test_a_large_content_is_spooled_and_synced_and_stays_when_entrusted() -> None:
    keeper, budget = Keeper(room=10**9), Budget(10**8)
    content = incoming(keeper, budget)
    await content.take(b"Subject: x\r\n\r\n")
    for _ in range(20):
        await content.take(b"x\r\n" * 30_000)
    finished = await content.finish()
    assert finished
    assert finished.spool == "file"
    assert keeper.spool.done[-1] == "sync"
    content.entrust()
    content.release()
    assert "discard" not in keeper.spool.done
    assert budget.used == 0
