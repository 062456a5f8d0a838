"""What is checked, as plain facts: which mail leaves under which domains, and by whom."""

from dataclasses import dataclass

from relay.model.provider import Provider


@dataclass(frozen=True, slots=True)
class Hop:
    """An upstream. ``provider`` is what is known of the company; None where it has no preset."""

    upstream: str
    host: str
    provider: Provider | None = None

    @property
    def title(self) -> str:
        return self.provider.title if self.provider else self.host

    @property
    def include(self) -> str | None:
        """The domain by which an SPF record authorises it, where there is one."""
        return self.provider.spf.include if self.provider and self.provider.spf else None

    @property
    def keeps_reverse_path(self) -> bool:
        """Whether receivers see the reverse-path that we gave."""
        spf = self.provider.spf if self.provider else None
        return spf is None or spf.keeps_reverse_path


@dataclass(frozen=True, slots=True)
class Leaving:
    """Mail that leaves by a hop: the domain of its From, and of its reverse-path, as they leave."""

    hop: Hop
    from_domain: str
    reverse_domain: str


@dataclass(frozen=True, slots=True)
class Subject:
    """Of one tenant, or with ``tenant`` None of the default. ``wildcards`` are domains beneath
    which it may send, ``bounces`` the domains and hops of reverse-paths in the place of null;
    ``hops`` are taken under domains that nobody can tell."""

    tenant: str | None
    leaving: tuple[Leaving, ...]
    selectors: tuple[str, ...] = ()
    wildcards: tuple[str, ...] = ()
    bounces: tuple[tuple[str, Hop], ...] = ()
    hops: tuple[Hop, ...] = ()
