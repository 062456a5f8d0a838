"""sealed: texts: a secret that can stand in the configuration, since only a key file opens it.

AES-256-GCM, which is there also where only FIPS 140 algorithms are allowed. The name of the setting
is authenticated with it, so that a text copied to another setting does not open. Written in
base64url: version, key's id, nonce, ciphertext with its tag.
"""

import base64
import binascii
import hashlib
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

from relay.config.files import why_unreadable
from relay.model.value import value_class

PREFIX = "sealed:"
_VERSION = 1
_ID_OCTETS = 4
_NONCE_OCTETS = 12
_TAG_OCTETS = 16
_KEY_OCTETS = 32


class SealError(Exception):
    """It can't be sealed or opened; the text names the key file or setting, and the remedy."""


@value_class
class Sealed:
    """The parts of a sealed text. Nothing of it is secret."""

    key_id: bytes
    nonce: bytes
    ciphertext: bytes

    @classmethod
    def read(cls, text: str) -> Self:
        """ValueError where it is not what ``relay secret seal`` prints."""
        octets = _decoded(text.removeprefix(PREFIX))
        key_id, nonce, ciphertext = octets[1:5], octets[5:17], octets[17:]
        if len(ciphertext) <= _TAG_OCTETS:
            raise ValueError("sealed: is not whole: paste all that relay secret seal printed")
        if octets[0] != _VERSION:
            raise ValueError("sealed: was made by another version of the relay: seal it anew")
        return cls(key_id, nonce, ciphertext)

    def __str__(self) -> str:
        octets = bytes([_VERSION]) + self.key_id + self.nonce + self.ciphertext
        return PREFIX + base64.urlsafe_b64encode(octets).decode().rstrip("=")


@dataclass(frozen=True, repr=False)
class Key:
    """32 random octets. Its id tells which key a text needs, and nothing of the key."""

    octets: bytes

    @cached_property
    def id(self) -> bytes:
        return hashlib.sha256(b"relay key id\0" + self.octets).digest()[:_ID_OCTETS]

    def seal(self, setting: str, secret: str) -> Sealed:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        nonce = os.urandom(_NONCE_OCTETS)
        ciphertext = AESGCM(self.octets).encrypt(nonce, secret.encode(), self._bound(setting))
        return Sealed(self.id, nonce, ciphertext)

    def open(self, setting: str, sealed: Sealed) -> str | None:
        """None where it was sealed for another setting, or has been altered."""
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        try:
            octets = AESGCM(self.octets).decrypt(
                sealed.nonce, sealed.ciphertext, self._bound(setting)
            )
        except InvalidTag:
            return None
        return octets.decode()

    def _bound(self, setting: str) -> bytes:
        return bytes([_VERSION]) + self.id + setting.encode()


class KeyFile:
    """One key a line: the first seals, all of them open, so that keys can be changed in turn.

    It is read when it is first needed, and then never again: a reload makes a new one.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def check(self) -> None:
        """Raises SealError where it can't be used."""
        _ = self._keys

    def seal(self, setting: str, secret: str) -> str:
        """The text for this setting. Raises SealError."""
        return str(self._keys[0].seal(setting, secret))

    def open(self, setting: str, text: str) -> str:
        """The secret in the text. Raises SealError; ValueError for a text that is not whole."""
        sealed = Sealed.read(text)
        key = next((key for key in self._keys if key.id == sealed.key_id), None)
        if key is None:
            known = ", ".join(key.id.hex() for key in self._keys)
            raise SealError(
                f"it needs the key {sealed.key_id.hex()}, but {self.path} has {known}: put that "
                f"key into it, or seal the secret anew: {_command(setting)}"
            )
        secret = key.open(setting, sealed)
        if secret is None:
            raise SealError(
                "it was sealed for another setting than this, or is not as it was printed: seal "
                f"it anew: {_command(setting)}"
            )
        return secret

    def seals_with(self, text: str) -> bool:
        """Whether the text is of the key that seals, not of one that is to go. As ``open``."""
        return Sealed.read(text).key_id == self._keys[0].id

    @cached_property
    def _keys(self) -> tuple[Key, ...]:
        try:
            lines = self.path.read_bytes().splitlines()
        except FileNotFoundError:
            raise SealError(
                f"no key file {self.path}: make one with relay secret keygen, or put back the one "
                "that sealed this"
            ) from None
        except OSError as error:
            raise SealError(f"key file: {why_unreadable(self.path, error)}") from None
        numbered = ((number, line.strip()) for number, line in enumerate(lines, 1))
        keys = tuple(self._key(n, line) for n, line in numbered if line and line[:1] != b"#")
        if not keys:
            raise SealError(f"there is no key in {self.path}: make one with relay secret keygen")
        return keys

    def _key(self, number: int, line: bytes) -> Key:
        octets = _decoded(line.decode(errors="replace"))
        if len(octets) != _KEY_OCTETS:
            raise SealError(f"{self.path}:{number}: this line is no key of relay secret keygen")
        return Key(octets)


def key_file_text() -> str:
    """A new key, as a key file has it."""
    key = base64.urlsafe_b64encode(os.urandom(_KEY_OCTETS)).decode().rstrip("=")
    return f"# relay secret keygen; the first key seals, all of them open\n{key}\n"


def _decoded(text: str) -> bytes:
    """b"" where it is not base64url."""
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return b""


def _command(setting: str) -> str:
    return f"relay secret seal {setting}"
