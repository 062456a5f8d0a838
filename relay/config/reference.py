"""docs/configuration.md, made from the schema: python -m relay.config.reference > FILE.

Read from the editors' JSON Schema, so that both say the same.
"""

from collections.abc import Iterator
from typing import Any

from relay.config.editor import json_schema

_INTRODUCTION = """\
# Configuration

<!-- Made from the schema by `python -m relay.config.reference`; do not edit. -->

The relay reads one YAML file: the one that `--config` names, else `$RELAY_CONFIG`, else
`/etc/relay/config.yaml`, else `./config.yaml`. `config.example.yaml` shows every key in its place.
`relay check` lists all that is wrong with the file at once, by line and column, and warns of what
works but should not stay. `relay config schema` prints a JSON Schema, by which an editor completes
and checks the file while you write. `relay config show` prints what is in force, each value with
its origin: a line of the file, a variable, a provider's preset, or the default.

A key that is not described here is an error, and so is one that stands twice. Names of upstreams,
tenants and classes are made of letters, digits, `.`, `_` and `-`. Quote what begins with `*`, `[`
or `:` (`"*.acme.example"`, `"[::1]:25"`), and words like `no` and `off` where they are meant as
words.

| kind | how it is written |
| --- | --- |
| duration | `200ms`, `30s`, `5m`, `2h`, `3d` |
| size | `64KiB`, `25MiB`, `10GiB` |
| mailbox | `Acme <noreply@acme.example>`, or the address alone |
| path | whole, from `/` on |
| address pattern | `billing@acme.example`, `acme.example`, `"*.acme.example"`, `www-*@*` |
| regular expression | Python's, in single quotes if in any: `'(?i)verification code'` |
| secret | one of the references below, or plain text |

## Secrets

| reference | where the secret is kept | a new one holds after |
| --- | --- | --- |
| `file:/etc/relay/secrets/acme` | in the file; a line end behind it does not count | a reload |
| `sealed:TEXT` | in the configuration itself, sealed by a key | a reload |
| `env:NAME` | in the environment variable | a restart |
| `credential:NAME` | in systemd's `$CREDENTIALS_DIRECTORY`, else `/run/secrets` | a restart |

Files of secrets should have mode 0640 or 0600, and belong to the service's group. A plain password
in the file works, and `relay check` warns of it. Nothing the relay prints shows a secret.

The verbs find what the service has. For `credential:` they look in
`/run/credentials/relay.service`, too. Where the configuration is `/etc/relay/config.yaml` (or the
one that `RELAY_CONFIG` in the file below names, or none), they take the variables of
`/etc/relay/environment`, which is the `EnvironmentFile=` of relay.service, beneath their own. Who
may not read these is told which file it was, and which group may.

A sealed secret can stand in the file, be kept under version control and shown to others: it opens
only with the key file (`secrets.key_file`), and only at the setting that it was sealed for. Copied
to another setting it does not open, and `relay check` says so.

    relay secret keygen                                      # once; makes /etc/relay/secret.key
    relay secret seal upstreams.acme-sendgrid.password       # asks twice, prints sealed:...

`seal` reads the secret from standard input where that is no terminal. A user name that is the
password once more, like Postmark's server token, is sealed as the password. Keep a copy of the key
file: what it has sealed can't be opened without it. To change keys, put a new one on top of it:

    relay secret keygen new.key
    cat /etc/relay/secret.key >> new.key                     # the first seals, all of them open
    install -m 0640 -g relay new.key /etc/relay/secret.key
    relay reload

Then seal the secrets anew, until `relay check` names none that is still of the old key, and take
the old key's line out. A password's argon2 hash for `clients.users` is made by

    python3 -c 'import argon2, getpass; print(argon2.PasswordHasher().hash(getpass.getpass()))'

## Environment

`RELAY_` and the keys on the way to a value, joined by `__`, override that value of the file:
`RELAY_UPSTREAMS__ACME_SENDGRID__PASSWORD` is the password of the upstream `acme-sendgrid`, and
`RELAY_HOSTNAME` is `hostname`. Case does not count, and `-` is written `_`. The value is YAML; a
secret is taken as it stands, unless it is in quotes. A variable with `__` in its name that names
no key is an error, and so are two names that fold to one.

`RELAY_SMTP_HOST`, `RELAY_SMTP_PORT`, `RELAY_SMTP_TLS`, `RELAY_SMTP_USERNAME`,
`RELAY_SMTP_PASSWORD`, `RELAY_SMTP_FROM_EMAIL` and `RELAY_SMTP_FROM_NAME` override the upstream and
the `from` of the default. Where there is no file at all they make an upstream of the name `smtp`,
which takes all mail. Empty ones do not count.

`RELAY_IMAGE_` and the keys on the way to a value are a container image's own defaults: they hold
where neither the file nor another variable gives that value. Empty ones do not count.
"""


def reference() -> str:
    """The whole page, in Markdown."""
    schema = json_schema()
    return "\n".join([_INTRODUCTION, *_section("Keys", schema, schema["$defs"], "")])


def _section(title: str, part: dict[str, Any], definitions: Any, path: str) -> Iterator[str]:
    """A table of the keys of ``part``, then the sections beneath it."""
    yield f"## {title}\n"
    if path:
        yield f"{part['description']}\n"
    yield "| key | kind | default | meaning |"
    yield "| --- | --- | --- | --- |"
    properties: dict[str, dict[str, Any]] = part["properties"]
    for key, value in properties.items():
        default = "required" if key in part.get("required", ()) else _default(value)
        meaning = value.get("description", "").replace("\n", " ")
        yield f"| `{key}` | {_kind(value)} | {default} | {meaning} |"
    yield ""
    for key, value in properties.items():
        reference, suffix = _beneath(value)
        if reference:
            inner = path + key + suffix
            yield from _section(f"`{inner}`", definitions[reference], definitions, f"{inner}.")


def _beneath(value: dict[str, Any]) -> tuple[str | None, str]:
    """The definition of the mappings in ``value``, and how the way to one is written on."""
    if "additionalProperties" in value:
        return _name_of(value["additionalProperties"]), ".NAME"
    if value.get("type") == "array":
        return _name_of(_longest_form(value["items"])), "[]"
    return _name_of(_longest_form(value)), ""


def _longest_form(value: dict[str, Any]) -> dict[str, Any]:
    """The mapping or list of what can be written shorter, too."""
    options: list[dict[str, Any]] = value.get("anyOf", [value])
    return options[-1]


def _name_of(value: dict[str, Any]) -> str | None:
    return value["$ref"].rpartition("/")[2] if "$ref" in value else None


def _kind(value: dict[str, Any]) -> str:
    if "enum" in value:
        return ", ".join(f"`{word}`" for word in value["enum"])
    if "$ref" in value:
        return "section"
    if "anyOf" in value:
        return " or ".join(_kind(option) for option in value["anyOf"]).replace("section", "mapping")
    if value.get("type") == "array":
        return f"list: {_kind(value['items'])}"
    if "additionalProperties" in value:
        return f"names: {_kind(value['additionalProperties'])}"
    # pydantic's own titles begin with a capital letter, those of our kinds do not.
    title = value.get("title", "")
    return (
        title if title[:1].islower() else {"boolean": "`true`, `false`"}.get(value["type"], "text")
    )


def _default(value: dict[str, Any]) -> str:
    default = value.get("default")
    if default is None or default == []:
        return ""
    if isinstance(default, list):
        return ", ".join(f"`{item}`" for item in default)
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


if __name__ == "__main__":
    print(reference(), end="")
