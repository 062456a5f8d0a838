"""DKIM keys (RFC 6376 section 3.6.1): what a selector's TXT record says, and what is wrong."""

import base64
import binascii
from dataclasses import dataclass

from relay.doctor.tags import tags_of

_FORBIDDEN_BITS = 1024  # RFC 8301 section 3.2: verifiers take none that is shorter
_ADVISED_BITS = 2048
_ED25519_OCTETS = 32


class BadKey(Exception):
    """No signature can be verified by it; the text says why."""


@dataclass(frozen=True, slots=True)
class DkimKey:
    """``type`` rsa or ed25519; ``notes`` tell of what works but should not stay."""

    type: str
    bits: int
    notes: tuple[str, ...]

    def __str__(self) -> str:
        return ", ".join([f"{self.type}, {self.bits} bits", *self.notes])


def dkim_key(text: str) -> DkimKey:
    """Raises BadKey."""
    try:
        tags = tags_of(text)
    except ValueError as error:
        raise BadKey(f"it can't be read: {error}") from None
    if tags.get("v", "DKIM1") != "DKIM1" or ("v" in tags and next(iter(tags)) != "v"):
        raise BadKey("it must begin with v=DKIM1")
    if "p" not in tags:
        raise BadKey("it has no key (p=)")
    if not tags["p"]:
        raise BadKey("the key is revoked (its p= is empty)")
    _must_serve_mail(tags)
    return _key(tags.get("k", "rsa").lower(), _octets(tags["p"]), _notes(tags))


def _must_serve_mail(tags: dict[str, str]) -> None:
    hashes = [one.strip().lower() for one in tags.get("h", "sha256").split(":")]
    if "sha256" not in hashes:
        raise BadKey("it takes no signature by sha256 (h=)")
    services = [one.strip().lower() for one in tags.get("s", "*").split(":")]
    if not {"*", "email"} & set(services):
        raise BadKey("it is not for mail (s=)")


def _notes(tags: dict[str, str]) -> tuple[str, ...]:
    flags = [one.strip().lower() for one in tags.get("t", "").split(":")]
    return ("testing (t=y): receivers may treat the mail as unsigned",) if "y" in flags else ()


def _octets(text: str) -> bytes:
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise BadKey("its key (p=) is not base64, or cut off") from None


def _key(kind: str, octets: bytes, notes: tuple[str, ...]) -> DkimKey:
    if kind == "ed25519":
        if len(octets) != _ED25519_OCTETS:
            raise BadKey(f"an ed25519 key has {_ED25519_OCTETS} octets, not {len(octets)}")
        return DkimKey(kind, _ED25519_OCTETS * 8, (*notes, "not all receivers know this type"))
    if kind != "rsa":
        raise BadKey(f"its type (k={kind}) is none that receivers know")
    bits = _rsa_bits(octets)
    if bits < _FORBIDDEN_BITS:
        raise BadKey(f"{bits} bits are too short: receivers take none below {_FORBIDDEN_BITS}")
    if bits < _ADVISED_BITS:
        notes = (*notes, f"better {_ADVISED_BITS} bits")
    return DkimKey(kind, bits, notes)


def _rsa_bits(octets: bytes) -> int:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    try:
        key = load_der_public_key(octets)
    except (ValueError, UnsupportedAlgorithm):
        raise BadKey("its key (p=) is no RSA key, or cut off") from None
    if not isinstance(key, RSAPublicKey):
        raise BadKey("its key (p=) is not of the type rsa")
    return key.key_size
