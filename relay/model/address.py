"""Addresses: local part and domain, compared case-insensitively in A-label form (RFC 5890)."""


def domain_of(address: str) -> str:
    """The domain in A-label form, lower case; "" for an address without one."""
    domain = address.rpartition("@")[2] if "@" in address else ""
    return a_label(domain)


def a_label(domain: str) -> str:
    """``domain`` as DNS has it; one that IDNA can't encode is only lower-cased."""
    if domain.isascii():
        return domain.lower()
    try:
        return domain.encode("idna").decode("ascii").lower()
    except UnicodeError:
        return domain.lower()


def canonical(address: str) -> str:
    """What two spellings of an address are compared by. Local parts are compared in lower case
    too: no provider distinguishes them, and applications spell them at will."""
    local, at, domain = address.rpartition("@")
    return f"{local.lower()}@{a_label(domain)}" if at else address.lower()
