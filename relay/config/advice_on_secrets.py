"""Advice on secrets: what stands in the open, what can't be had, what is of the wrong kind."""

from collections.abc import Callable, Iterator

from relay.config import files
from relay.config.addresses import is_loopback, web_url
from relay.config.finding import Finding
from relay.config.problem import Loc, dotted
from relay.config.schema import Config, Secret, SecretError
from relay.config.secret_settings import secrets_of


def plain_secrets(config: Config) -> Iterator[Finding]:
    for loc, secret in _secrets(config):
        if secret.plain and loc[-1] in ("password", "token"):
            message = "stands in the file as plain text: use file:, credential:, env: or sealed:"
            yield Finding(loc, message)
    if config.store.has_password:
        message = "holds a password as plain text: use the service's ~/.pgpass"
        yield Finding(("store",), message)


def missing_secrets(config: Config) -> Iterator[Finding]:
    for loc, secret in _secrets(config):
        if trouble := secret.trouble:
            yield Finding(loc, trouble)


def open_secret_files(config: Config) -> Iterator[Finding]:
    for loc, secret in _secrets(config):
        if secret.file and (trouble := files.too_open(secret.file)):
            yield Finding(loc, trouble)
    for index, listener in enumerate(config.listen):
        if listener.key_file and (trouble := files.too_open(listener.key_file)):
            yield Finding(("listen", index, "key_file"), trouble)
    sealed = any(secret.sealed for _, secret in _secrets(config))
    if sealed and (trouble := files.too_open(config.secrets.key_file)):
        yield Finding(("secrets", "key_file"), trouble)
    inside = any(s.plain and loc[-1] != "username" for loc, s in _secrets(config))
    if inside and config.source and (trouble := files.too_open(config.source)):
        yield Finding((), f"holds secrets, and {trouble}")


def old_seals(config: Config) -> Iterator[Finding]:
    """What is left to do of a change of keys."""
    for loc, secret in _secrets(config):
        try:
            old = secret.seal_is_old
        except SecretError:  # which missing_secrets tells of
            continue
        if old:
            message = f"{secret}: this key is not the first of {config.secrets.key_file} any more: "
            yield Finding(loc, message + f"seal it anew: relay secret seal {dotted(loc)}")


def unfit_hashes(config: Config) -> Iterator[Finding]:
    """What stands in the file itself is an error; what is kept elsewhere may yet be mended."""
    for name, user in config.clients.users.items():
        try:
            fits = user.password_hash.reveal().startswith("$argon2")
        except SecretError:
            continue
        if not fits:
            message = f"{user.password_hash}: is not an argon2 hash, which begins with $argon2id$"
            yield Finding(("clients", "users", name, "password_hash"), message)


def webhooks(config: Config) -> Iterator[Finding]:
    """A webhook's URL often holds a token, and what is posted tells of the mail."""
    loc: Loc = ("alerts", "webhook")
    if config.alerts.webhook is None:
        return
    try:
        url = web_url(config.alerts.webhook.reveal())
    except SecretError:  # which missing_secrets tells of
        return
    except ValueError as error:
        yield Finding(loc, str(error))
        return
    if url.scheme == "http" and not is_loopback(url.hostname or ""):
        yield Finding(loc, "alerts would cross the network in clear text: use https")


def _secrets(config: Config) -> Iterator[tuple[Loc, Secret]]:
    """All of them, once each: a user name may be the password once more."""
    for loc, secret in secrets_of(config):
        if loc[-1] == "username" and secret == config.upstreams[str(loc[1])].password:
            continue
        yield loc, secret


ADVICE: tuple[Callable[[Config], Iterator[Finding]], ...] = (
    plain_secrets,
    missing_secrets,
    open_secret_files,
    old_seals,
    unfit_hashes,
    webhooks,
)
