"""Under whose name a message leaves: From, Reply-To and the reverse-path, edited as octets.

Where From is rewritten, the original display name stays, the original From goes to Reply-To unless
one is set, and what the change would falsify (Sender, Return-Path, DKIM-Signature) goes. The null
reverse-path stays null.
"""

from collections.abc import Callable

from relay.config.schema import Mailbox
from relay.model import header as headers
from relay.model.value import value_class

# RFC 5322 section 2.1.1, without its CRLF.
_LONGEST_LINE = 998
_FALSIFIED = frozenset({b"sender", b"return-path", b"dkim-signature"})


@value_class
class Identity:
    """``rewrite`` is never, foreign or always; ``owns`` says of an address whether it is ours."""

    from_: Mailbox | None
    reply_to: Mailbox | None
    rewrite: str
    owns: Callable[[str], bool]

    def rewrites(self, address: str) -> bool:
        if self.from_ is None or self.rewrite == "never":
            return False
        return self.rewrite == "always" or not self.owns(address)


def reverse_path_under(identity: Identity | None, reverse_path: str) -> str:
    if identity and identity.from_ and reverse_path and identity.rewrites(reverse_path):
        return identity.from_.address
    return reverse_path


def changes_header(identity: Identity | None, header_from: str) -> bool:
    """Whether ``header_under`` has to look; ``header_from`` is the one mailbox of From, or ""."""
    if identity is None:
        return False
    return not header_from or identity.reply_to is not None or identity.rewrites(header_from)


def header_under(identity: Identity, header: bytes) -> bytes:
    """The header section as it leaves; the very same octets where there is nothing to change."""
    found = headers.fields(header)
    senders = [field for field in found if field.name == b"from"]
    mailbox = headers.one_mailbox(headers.value(header, senders[0])) if len(senders) == 1 else ""
    rewritten = identity.rewrites(mailbox)
    reply_to = _reply_to(identity, header, found, senders if rewritten else [])
    if not rewritten:
        return _added(header, reply_to)
    dropped = [f for f in found if f.name in _FALSIFIED or (f.name == b"from" and f in senders[1:])]
    return _added(_with_from(identity, header, senders, dropped), reply_to)


def _with_from(
    identity: Identity, header: bytes, senders: list[headers.Field], dropped: list[headers.Field]
) -> bytes:
    """From in the place where it was; at the end if there was none."""
    assert identity.from_ is not None
    if not senders:
        return _added(headers.without(header, dropped), _from_field(identity.from_, b""))
    first = senders[0]
    name = headers.display_name(headers.value(header, first))
    before = headers.without(header[: first.start], [f for f in dropped if f.end <= first.start])
    behind = [
        headers.Field(f.name, f.start - first.end, f.value_start - first.end, f.end - first.end)
        for f in dropped
        if f.start >= first.end
    ]
    return before + _from_field(identity.from_, name) + headers.without(header[first.end :], behind)


def _from_field(mailbox: Mailbox, original_name: bytes) -> bytes:
    address = mailbox.address.encode()
    value = b"%b <%b>" % (original_name, address)
    fits = len(b"From: " + value) <= _LONGEST_LINE
    if not original_name or not fits or headers.one_mailbox(value) != mailbox.address:
        name = quoted_name(mailbox.display_name)
        value = b"%b <%b>" % (name, address) if name else address
    return b"From: " + value + b"\r\n"


def _reply_to(
    identity: Identity,
    header: bytes,
    found: list[headers.Field],
    rewritten: list[headers.Field],
) -> bytes:
    """The Reply-To field to add: the identity's, else the From that was rewritten; one that is
    there stays."""
    if any(field.name == b"reply-to" for field in found):
        return b""
    if identity.reply_to:
        name = quoted_name(identity.reply_to.display_name)
        address = identity.reply_to.address.encode()
        return b"Reply-To: " + (b"%b <%b>" % (name, address) if name else address) + b"\r\n"
    if not rewritten:
        return b""
    return _reply_to_field(header[rewritten[0].value_start : rewritten[0].end])


def _reply_to_field(value: bytes) -> bytes:
    """``value`` is From's, as it stands; the name before it is longer than From's was."""
    if len(b"Reply-To:" + value.partition(b"\r\n")[0]) <= _LONGEST_LINE:
        return b"Reply-To:" + value
    return b"Reply-To:\r\n " + value.lstrip(b" \t")


def _added(header: bytes, field: bytes) -> bytes:
    """``field`` as the last, before the blank line."""
    return header[:-2] + field + b"\r\n" if field else header


def quoted_name(name: str) -> bytes:
    """A display name as it may stand in a field: as it is, quoted, or as encoded words."""
    if not name:
        return b""
    if not name.isascii():
        from email.header import Header

        return Header(name, "utf-8", maxlinelen=70).encode(linesep="\r\n").encode("ascii")
    if all(c.isalnum() or c in " !#$%&'*+-/=?^_`{|}~" for c in name):
        return name.encode()
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'.encode()
