"""Which tenant a message belongs to: by the reverse-path, else by the header From.

Exact sender, then domain, then the longest wildcard; three kinds of dictionary look-up, whatever
the number of tenants.
"""

import hashlib
from collections.abc import Iterable
from typing import Any

from relay.config.schema import Tenant
from relay.model.address import canonical, domain_of
from relay.model.ports import Bound
from relay.model.reply import Reply
from relay.model.value import value_class


@value_class
class Match:
    """``tenants`` claim it: more than one where bound clients tell them apart."""

    tenants: tuple[str, ...]
    why: str


NO_MATCH = Match((), "")
RULES_CHANGED = Reply(451, "4.7.1", "the tenants have changed meanwhile, try again")


class Tenancy:
    """Implements model.ports.Tenancy for one configuration."""

    def __init__(self, tenants: Iterable[Tenant], *, has_default: bool) -> None:
        self._has_default = has_default
        self._names: set[str] = set()
        self._senders: dict[str, tuple[str, ...]] = {}
        self._domains: dict[str, tuple[str, ...]] = {}
        self._wildcards: dict[str, tuple[str, ...]] = {}
        for tenant in tenants:
            self._names.add(tenant.name)
            for sender in tenant.senders:
                _claim(self._senders, canonical(sender), tenant.name)
            for domain in tenant.domains:
                if domain.startswith("*."):
                    _claim(self._wildcards, domain[2:], tenant.name)
                else:
                    _claim(self._domains, domain, tenant.name)

    @property
    def identity(self) -> str:
        """The same for every tenancy in which each sender is of the same tenant."""
        claims: list[Any] = [sorted(self._names)]
        claims += [sorted(some.items()) for some in (self._senders, self._domains, self._wildcards)]
        return hashlib.blake2b(repr(claims).encode(), digest_size=16).hexdigest()

    def sender_refusal(self, reverse_path: str, bound: Bound) -> Reply | None:
        if bound is None or len(bound) == 1:
            return None
        claimed = self._match(reverse_path).tenants
        if claimed and not set(claimed) & set(bound):
            return _out_of_bounds(reverse_path)
        return None

    def admit(self, reverse_path: str, header_from: str, bound: Bound) -> str | Reply:
        if bound and self._still(bound) is None:
            return RULES_CHANGED
        tenant, _ = self.find(reverse_path, header_from, bound)
        if tenant is None and bound is not None:
            return _out_of_bounds(reverse_path or header_from)
        if tenant is None and not self._has_default:
            sender = reverse_path or header_from or "the null sender"
            return Reply(550, "5.7.1", f"no tenant sends as {sender}, and there is no default")
        return tenant or ""

    def find(self, reverse_path: str, header_from: str, bound: Bound) -> tuple[str | None, str]:
        """The tenant's name, or None, and why."""
        bound = self._still(bound)
        if bound is not None and len(bound) == 1:
            return bound[0], f"the client may send only for {bound[0]}"
        for kind, address in (("reverse-path", reverse_path), ("header From", header_from)):
            match = self._match(address)
            if not match.tenants:
                continue
            allowed = [t for t in match.tenants if bound is None or t in bound]
            if len(allowed) != 1:
                return None, f"{kind} {address} is of {', '.join(match.tenants)}, out of bounds"
            return allowed[0], f"{kind} {address} matches {match.why}"
        return None, "no tenant has this sender"

    def of(self, reverse_path: str, header_from: str, bound: Bound) -> str:
        """The tenant's name, "" for one who lives on the default."""
        return self.find(reverse_path, header_from, bound)[0] or ""

    def _still(self, bound: Bound) -> Bound:
        """Those of the tenants that there still are: whoever was bound to a tenant that a reload
        has renamed or removed is known by the sender alone."""
        if not bound or all(name in self._names for name in bound):
            return bound
        return tuple(name for name in bound if name in self._names) or None

    def owns(self, tenant: str, address: str) -> bool:
        """Whether the address is one of the tenant's own."""
        return tenant in self._match(address).tenants

    def _match(self, address: str) -> Match:
        if not address:
            return NO_MATCH
        exact = self._senders.get(canonical(address))
        if exact:
            return Match(exact, f"sender {address}")
        domain = domain_of(address)
        claimed = self._domains.get(domain)
        if claimed:
            return Match(claimed, f"domain {domain}")
        return self._match_wildcard(domain)

    def _match_wildcard(self, domain: str) -> Match:
        """The longest first; *.acme.example holds at any depth, but not for acme.example."""
        parent = domain.partition(".")[2]
        while parent and self._wildcards:
            claimed = self._wildcards.get(parent)
            if claimed:
                return Match(claimed, f"domain *.{parent}")
            parent = parent.partition(".")[2]
        return NO_MATCH


def _claim(claims: dict[str, tuple[str, ...]], key: str, tenant: str) -> None:
    claims[key] = (*claims.get(key, ()), tenant)


def _out_of_bounds(sender: str) -> Reply:
    return Reply(550, "5.7.1", f"this client may not send as {sender or 'the null sender'}")
