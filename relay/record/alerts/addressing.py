"""Who hears of what.

A tenant's own troubles go to its owner. The operator (``alerts.email``) hears of what concerns the
relay, an upstream as a whole, or mail without a way, and of the tenants that have no owner; of
everything else the owner alone, so that nobody is told of another's affairs, or of the same twice.
An upstream's pause goes to the owners of the tenants that name it too: the account is theirs. The
webhook is a third addressee, which hears of everything once. One person in several of these roles
is one addressee.
"""

from collections.abc import Sequence
from dataclasses import field

from relay.config.addresses import Mailbox
from relay.model.address import canonical
from relay.model.notice import Incident, IncidentKind
from relay.model.value import value_class

_OF_THE_RELAY = frozenset({IncidentKind.STORE_FAILED, IncidentKind.QUEUE_FULL})
_OF_AN_UPSTREAM = frozenset({IncidentKind.UPSTREAM_PAUSED, IncidentKind.UPSTREAM_RESUMED})


@value_class
class Addressee:
    """``mailbox`` is None for the webhook."""

    key: str
    mailbox: Mailbox | None = field(compare=False)


WEBHOOK = Addressee("", None)


@value_class
class Contact:
    """What is to be known of a tenant. ``upstreams`` are those that it names itself (upstream,
    failover, pilot): of the default's the owner could mend nothing."""

    tenant: str
    owner: Mailbox | None = None
    recovery: str | None = None
    upstreams: frozenset[str] = frozenset()


class Addressing:
    """Made anew from every configuration."""

    def __init__(
        self, contacts: Sequence[Contact] = (), operator: Mailbox | None = None, *, webhook: bool
    ) -> None:
        self._contacts = {contact.tenant: contact for contact in contacts}
        self._operator = _addressee(operator) if operator else None
        self._webhook = webhook
        self.everybody = {WEBHOOK} if webhook else set()
        if self._operator:
            self.everybody.add(self._operator)
        # The tenants that name an upstream: all, and by owner.
        self._naming: dict[str, list[str]] = {}
        self._owners: dict[str, dict[Addressee, list[str]]] = {}
        for contact in contacts:
            self._index(contact)

    def _index(self, contact: Contact) -> None:
        owner = self.owner(contact.tenant)
        if owner:
            self.everybody.add(owner)
        for upstream in contact.upstreams:
            self._naming.setdefault(upstream, []).append(contact.tenant)
            if owner:
                of_owner = self._owners.setdefault(upstream, {}).setdefault(owner, [])
                of_owner.append(contact.tenant)

    def owner(self, tenant: str | None) -> Addressee | None:
        contact = self._contacts.get(tenant or "")
        return _addressee(contact.owner) if contact and contact.owner else None

    def recovery(self, tenant: str) -> str | None:
        contact = self._contacts.get(tenant)
        return contact.recovery if contact else None

    def tenants(self, addressee: Addressee, upstream: str) -> tuple[str, ...]:
        """Those that name the upstream: an owner's own, to the operator and the webhook all."""
        if addressee in (self._operator, WEBHOOK):
            return tuple(self._naming.get(upstream, ()))
        return tuple(self._owners.get(upstream, {}).get(addressee, ()))

    def responsible(self, tenant: str | None) -> Addressee | None:
        """The tenant's owner, else the operator, if there is one."""
        return self.owner(tenant) or self._operator

    def addressees(self, incident: Incident) -> list[Addressee]:
        """Each once. The webhook is not among those of SUPPRESSED, which makes no alert."""
        found = dict.fromkeys(self._persons(incident))
        if self._webhook and incident.kind is not IncidentKind.SUPPRESSED:
            found[WEBHOOK] = None
        return [addressee for addressee in found if addressee is not None]

    def _persons(self, incident: Incident) -> list[Addressee | None]:
        if incident.kind in _OF_THE_RELAY:
            return [self._operator]
        if incident.kind in _OF_AN_UPSTREAM and incident.tenant is None:
            return [*self._owners.get(incident.upstream or "", ()), self._operator]
        if incident.kind is IncidentKind.NO_ROUTE:
            return [self.owner(incident.tenant), self._operator]
        return [self.responsible(incident.tenant)]


def _addressee(mailbox: Mailbox) -> Addressee:
    return Addressee(canonical(mailbox.address), mailbox)
