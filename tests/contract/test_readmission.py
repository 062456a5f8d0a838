"""Queued mail becomes that of the tenants which its senders have now."""

from dataclasses import replace

from contract.letters import NOW, message, settlement

from relay.model.message import Ending, Kind, Message, Origin, Recipient, State
from relay.model.ports import Bound, Store


async def keep(store: Store, *messages: Message) -> None:
    for one in messages:
        await store.add(one, claimed=False, events=[])


def of(sender: str, tenant: str = "acme", bound: Bound = None, kind: Kind = Kind.MAIL) -> Message:
    origin = Origin("127.0.0.1", "web01.example", bound=bound)
    return replace(message(tenant=tenant, kind=kind), reverse_path=sender, origin=origin)


def by_sender(reverse_path: str, header_from: str, bound: Bound) -> str:
    if bound:
        return bound[0]
    return "globex" if reverse_path.endswith("@moved.example") else "acme"


async def tenants(store: Store) -> dict[str, int]:
    return {tenant: share.messages for tenant, share in (await store.shares()).items()}


async def test_it_moves_what_is_of_another_tenant_now_and_that_alone(store: Store) -> None:
    await keep(
        store,
        of("shop@moved.example"),
        of("shop@acme.example"),
        of("shop@moved.example", bound=("acme", "globex")),
        of("", kind=Kind.ALERT, tenant=""),
    )
    assert await store.readmit("second", by_sender) == 1
    assert await tenants(store) == {"acme": 2, "globex": 1, "": 1}
    [moved] = await store.claim("globex", 10, NOW)
    assert moved.reverse_path == "shop@moved.example"


async def test_it_looks_only_where_the_tenancy_is_another(store: Store) -> None:
    await store.readmit("first", by_sender)
    await keep(store, of("shop@moved.example"))
    assert await store.readmit("first", by_sender) == 0
    assert await store.readmit("second", by_sender) == 1


async def test_any_number_is_moved(store: Store) -> None:
    await keep(store, *(of("shop@moved.example") for _ in range(2100)))
    assert await store.readmit("second", by_sender) == 2100


async def test_what_is_under_way_meanwhile_stays_with_its_new_tenant(store: Store) -> None:
    """Its settle knows the former one, and would bring it back."""
    moved = of("shop@moved.example")
    await store.add(moved, claimed=True, events=[])
    await store.readmit("second", by_sender)
    await store.settle([settlement(moved, Ending.WAITS)], [])
    assert [one.queue_id for one in await store.claim("globex", 10, NOW)] == [moved.queue_id]


async def test_dead_letters_are_moved_since_they_may_be_tried_again(store: Store) -> None:
    dead = of("shop@moved.example")
    await store.add(dead, claimed=True, events=[])
    failed = Recipient(0, dead.recipients[0].address, state=State.FAILED)
    await store.settle([settlement(dead, Ending.DEAD, recipients=[failed])], [])
    assert await store.readmit("second", by_sender) == 1
