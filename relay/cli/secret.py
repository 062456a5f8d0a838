"""``relay secret``: keys, and secrets sealed with them, which can stand in the configuration.

A secret is asked for or read from standard input: arguments are in history and process lists.
"""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from relay.cli import access, options, output
from relay.cli.access import Trouble

if TYPE_CHECKING:
    from relay.config.document import Document
    from relay.config.problem import Loc

app = options.group("Secrets that stand sealed in the configuration: make a key, seal one.")

# The group that the package gives the service.
_GROUP = "relay"
_FOR_OWNER, _FOR_GROUP = 0o600, 0o640


@app.command(
    epilog=options.examples(
        "relay secret keygen",
        "relay secret keygen ./new.key",
        "relay secret keygen ./new.key && cat /etc/relay/secret.key >> ./new.key",
    )
)
def keygen(
    context: typer.Context,
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="[FILE]",
            help="Where to write it. Default: the configuration's secrets.key_file, else "
            "/etc/relay/secret.key.",
            show_default=False,
        ),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Make a key file, which seals secrets and opens them.

    A file that is there is never overwritten: what was sealed with it would be lost. To change
    keys, write the new one to another file and append the old one (the first key seals, all of
    them open), put it in place, seal the secrets anew, then take the old key out. relay check names
    those that are left.
    """
    path = file or _key_file(context)
    _write_new(path)
    group = _given_to_group(path)
    if as_json:
        mode = f"{path.stat().st_mode & 0o7777:04o}"
        output.json_lines([{"path": str(path), "mode": mode, "group": group}])
        return
    print(f"{path} is made: {_readable(path, group)}")
    print("Keep a copy of it in a safe place: what it has sealed can't be opened without it.")


@app.command(
    epilog=options.examples(
        "relay secret seal upstreams.acme-sendgrid.password",
        "relay secret seal alerts.webhook < webhook.txt",
        "pass show sendgrid | relay secret seal upstreams.acme-sendgrid.password",
    )
)
def seal(
    context: typer.Context,
    setting: Annotated[
        str,
        typer.Argument(
            metavar="SETTING",
            help="The setting that it is for, like upstreams.acme-sendgrid.password.",
        ),
    ],
    as_json: options.Json = False,
) -> None:
    """Seal a secret for one setting, and print what to write there.

    It is asked for twice on a terminal, and read from standard input elsewhere. What is printed
    opens for this setting alone, with the key file of secrets.key_file.
    """
    from relay.config.problem import dotted
    from relay.config.sealing import KeyFile, SealError
    from relay.config.secret_settings import settings_in

    document = _document(context)
    known = {dotted(loc): loc for loc in settings_in(document.data)}
    loc = access.named("secret setting", setting, known)
    keys = KeyFile(_key_file_of(document))
    try:
        keys.check()  # before a person types a secret in vain
        sealed = keys.seal(setting, _asked(setting, loc))
    except SealError as error:
        raise Trouble(str(error)) from None
    if as_json:
        output.json_lines([{"setting": setting, "sealed": sealed}])
    else:
        print(sealed)


def _document(context: typer.Context) -> "Document":
    """As it stands, since what is to be sealed may be all that it lacks."""
    from relay.config.loader import read

    with access.problems_told():
        return read(*access.sources(context))


def _key_file(context: typer.Context) -> Path:
    """Also where there is no configuration yet."""
    from relay.config import ConfigError
    from relay.config.document import Document
    from relay.config.loader import read

    try:
        return _key_file_of(read(*access.sources(context)))
    except ConfigError:
        if context.obj:
            raise Trouble(f"{context.obj} can't be read: name the key file") from None
        return _key_file_of(Document())


def _key_file_of(document: "Document") -> Path:
    from relay.config.schema import Secrets

    section = document.data.get("secrets")
    written = section.get("key_file") if isinstance(section, dict) else None
    if isinstance(written, str) and written.startswith("/"):
        return Path(written)
    if written is not None:
        raise Trouble("secrets.key_file is not a whole path: begin it with /")
    return Secrets().key_file


def _asked(setting: str, loc: "Loc") -> str:
    """The secret, by a hidden prompt or from standard input."""
    if sys.stdin is not None and sys.stdin.isatty():
        text = typer.prompt(setting, hide_input=True, confirmation_prompt=True, err=True)
    else:
        text = _from_standard_input()
    if not text or not text.isprintable():
        what = "it has a line break or control character in it" if text else "it is empty"
        raise Trouble(f"nothing is sealed: {what}")
    if loc[-1] == "password_hash" and not text.startswith("$argon2"):
        raise Trouble("nothing is sealed: this is no argon2 hash, which begins with $argon2id$")
    return str(text)


def _from_standard_input() -> str:
    octets = sys.stdin.buffer.read() if sys.stdin is not None else b""
    # Not decoded strictly, since a UnicodeDecodeError would carry the octets with it.
    text = octets.decode(errors="replace")
    if "\ufffd" in text:
        raise Trouble("nothing is sealed: it is not text in UTF-8")
    return text.removesuffix("\n").removesuffix("\r")


def _write_new(path: Path) -> None:
    from relay.config.sealing import key_file_text

    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _FOR_OWNER)
    except FileExistsError:
        raise Trouble(
            f"{path} is there already and is left as it is: secrets may be sealed with it; how to "
            "change keys is in relay secret keygen --help"
        ) from None
    except OSError as error:
        raise Trouble(_why_unmade(path, error)) from None
    try:
        with open(descriptor, "w") as file:
            file.write(key_file_text())
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        path.unlink()
        raise Trouble(_why_unmade(path, error)) from None


def _why_unmade(path: Path, error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return f"can't make {path}: there is no directory {path.parent}"
    if isinstance(error, PermissionError):
        return f"can't make {path}: {path.parent} is not ours to write to; use sudo"
    return f"can't make {path}: {os.strerror(error.errno or 0)}"


def _given_to_group(path: Path) -> str | None:
    """The service's group, which can read the file now; None where we may not give it that."""
    import shutil

    try:
        shutil.chown(path, group=_GROUP)
    except (LookupError, OSError):
        return None
    path.chmod(_FOR_GROUP)
    return _GROUP


def _readable(path: Path, group: str | None) -> str:
    """By whom; what is left to do."""
    if group:
        return f"mode {_FOR_GROUP:04o}, group {group}, so that the service can read it"
    return (
        f"mode {_FOR_OWNER:04o}, for its owner alone; if the relay runs as another user, give "
        f"it the file: chgrp {_GROUP} {path} && chmod {_FOR_GROUP:04o} {path}"
    )
