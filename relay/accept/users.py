"""Passwords of ``clients.users``: argon2 verified off the loop, one at a time, so that guessing
costs the guesser and not the mail; what was right once is remembered in memory, as a keyed hash.
"""

import asyncio
import hashlib
import hmac
import secrets
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from relay.config.schema import User

# At some 30 ms each, as much as a client will wait for.
_MOST_WAITING = 100


class TooManyLoginsError(Exception):
    """So many passwords wait to be verified that this one is not taken."""


class Users:
    def __init__(self, users: Mapping[str, User]) -> None:
        self._users = dict(users)
        self._key = secrets.token_bytes(32)
        self._right: dict[str, bytes] = {}
        self._executor: ThreadPoolExecutor | None = None
        self._waiting = 0

    def configure(self, users: Mapping[str, User]) -> None:
        """Others, or the same with other passwords: each has to show it once more."""
        self._users = dict(users)
        self._right.clear()

    def proof(self, name: str) -> str | None:
        """What a login rests on: one that was made on another is none any more. None: there is no
        such user."""
        user = self._users.get(name)
        return user.password_hash.reveal() if user else None

    def tenants_of(self, name: str) -> tuple[str, ...]:
        return self._users[name].tenants

    async def verify(self, name: str, password: bytes) -> bool:
        """Whether this is the user's password. An unknown user takes as long as a known one."""
        digest = hmac.digest(self._key, name.encode() + b"\0" + password, hashlib.sha256)
        if hmac.compare_digest(self._right.get(name, b""), digest):
            return True
        if self._waiting >= _MOST_WAITING:
            raise TooManyLoginsError
        if self._executor is None:
            self._executor = ThreadPoolExecutor(1, "password")
        loop, user = asyncio.get_running_loop(), self._users.get(name)
        self._waiting += 1
        try:
            right = await loop.run_in_executor(self._executor, _is_right, user, password)
        finally:
            self._waiting -= 1
        if self._users.get(name) is not user:
            # What was right a moment ago may be so no longer.
            return False
        if right:
            self._right[name] = digest
        return right

    def close(self) -> None:
        if self._executor:
            self._executor.shutdown(wait=False, cancel_futures=True)


def _is_right(user: User | None, password: bytes) -> bool:
    import argon2

    hasher = argon2.PasswordHasher()
    if user is None:
        hasher.hash(password)
        return False
    try:
        return hasher.verify(user.password_hash.reveal(), password)
    except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
        return False
