"""DKIM keys (RFC 6376): which can be verified by, and why another can't."""

import base64
from contextlib import suppress

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from relay.doctor.dkim_key import BadKey, dkim_key


def rsa_key(bits: int) -> str:
    key = rsa.generate_private_key(65537, bits).public_key()
    return _base64(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def _base64(octets: bytes) -> str:
    return base64.b64encode(octets).decode()


GOOD = rsa_key(2048)
EDWARDS = _base64(
    ed25519.Ed25519PrivateKey.generate().public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
)
CURVE = _base64(
    ec.generate_private_key(ec.SECP256R1())
    .public_key()
    .public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
)


@pytest.mark.parametrize(
    "text",
    [
        f"v=DKIM1; k=rsa; p={GOOD}",
        f"p={GOOD}",
        f"v=DKIM1;p={GOOD};",
        f"v=DKIM1; h=sha1:sha256; s=email; n=a note; p={GOOD[:50]} {GOOD[50:]}",
    ],
)
def test_a_good_key(text: str) -> None:
    assert str(dkim_key(text)) == "rsa, 2048 bits"


def test_what_works_but_should_not_stay() -> None:
    assert str(dkim_key(f"p={rsa_key(1024)}")) == "rsa, 1024 bits, better 2048 bits"
    assert "testing" in str(dkim_key(f"t=y:s; p={GOOD}"))
    assert "not all receivers" in str(dkim_key(f"v=DKIM1; k=ed25519; p={EDWARDS}"))


# Made once by OpenSSL with 512 bits, which the library does not make any more.
SHORT = (
    "MFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBANYNWQkXAojUvZirDqWyZ6H6EYKDRBkw"
    "7bSVVUX9D7/2QFhAdjutAi2L3qvG34Ry/mDnHXXkTAUEslILoeWLNMsCAwEAAQ=="
)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("v=DKIM1; p=", "revoked"),
        ("v=DKIM1; k=rsa", "no key"),
        (f"v=DKIM2; p={GOOD}", "must begin with v=DKIM1"),
        (f"k=rsa; v=DKIM1; p={GOOD}", "must begin with v=DKIM1"),
        (f"v=DKIM1; p={SHORT}", "512 bits are too short"),
        (f"v=DKIM1; p={GOOD[:200]}", "no RSA key, or cut off"),
        (f"v=DKIM1; p={GOOD[:201]}", "not base64, or cut off"),
        (f"v=DKIM1; p={CURVE}", "not of the type rsa"),
        (f"v=DKIM1; k=ed25519; p={GOOD}", "32 octets"),
        (f"v=DKIM1; k=dsa; p={GOOD}", "k=dsa"),
        (f"v=DKIM1; h=sha1; p={GOOD}", "sha256"),
        (f"v=DKIM1; s=web; p={GOOD}", "not for mail"),
        (f"v=DKIM1; p={GOOD}; p={GOOD}", "stands twice"),
        ("v=spf1 -all", "v=DKIM1"),
        ("what is this", "is no tag"),
        ("", "no key"),
    ],
)
def test_a_bad_key(text: str, why: str) -> None:
    with pytest.raises(BadKey, match=why):
        dkim_key(text)


@given(st.text(max_size=100), st.binary(max_size=60).map(_base64))
def test_whatever_stands_there_it_is_a_key_or_a_bad_one(before: str, octets: str) -> None:
    for text in (before, f"{before}; p={octets}", f"k=ed25519; p={octets}"):
        with suppress(BadKey):
            assert dkim_key(text).bits >= 256
