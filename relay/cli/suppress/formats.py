"""Suppression lists as CSV: the relay's own, and what the providers export.

It knows no file and no store. Columns go by their names in the first line, whatever their order,
case, blanks and underscores. What is known of the providers' (looked up in November 2026):

- SendGrid: ``status,reason,email,created`` (bounces, and blocks just so), ``reason,email,created``
  (invalid emails), ``email,ip,created`` (spam reports); created in Unix seconds. Sure: several
  programs read such downloads. Unsubscribes are ``email,created``: no bounces, and refused. Blocks
  are told by their status, 4.x.x or 5.7.x, and left out, since their mailboxes exist.
- Mailgun: ``address,code,error,created_at``, created_at as in a mail's Date. Sure for bounces, by
  its API reference for the import of the same file; complaints are ``address,created_at``, likely.
  Unsubscribes are ``address,tags,created_at``, and refused.
- Postmark: ``EmailAddress,SuppressionReason,Origin,CreatedAt`` with HardBounce, SpamComplaint or
  ManualSuppression. Sure for its API's dump; that the CSV's columns have these names is likely.
- Amazon SES: its import takes ``address,BOUNCE`` or ``COMPLAINT`` without titles: sure. It exports
  no CSV itself; what people make of list-suppressed-destinations has the names of that API,
  ``EmailAddress,Reason,LastUpdateTime``.

A list without titles that has one address a line is read as the relay's own.
"""

import csv
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from itertools import chain

from relay.config.addresses import address as checked_address
from relay.config.problem import did_you_mean
from relay.model.address import canonical
from relay.model.suppression import Source, Suppression

_COLUMNS = ("address", "tenant", "source", "reason", "at", "until")
_LONGEST_REASON = 500
_LONGEST_SHOWN = 60
_LAST_MOMENT = 253_402_300_799.0  # the year 9999
# SendGrid's blocks, beside its bounces: refused for now, for a full mailbox, for policy.
_MAILBOX_EXISTS = ("4", "5.2.2", "5.7")


class UnknownColumns(ValueError):
    """Nobody can tell what the file is; the text is for the person who named it."""


@dataclass(frozen=True, slots=True)
class Import:
    """How entries come into being. ``tenant`` is whose they are ("" for all); None: as each row
    says, which is for all where it says nothing. ``tenants`` are those that exist; ``now`` in Unix
    seconds."""

    tenant: str | None
    tenants: Collection[str]
    actor: str
    now: float


@dataclass(frozen=True, slots=True)
class Skipped:
    """A row that makes no entry. ``bad``: it can't be read, else it is not about a mailbox that
    should get no more mail."""

    line: int
    why: str
    bad: bool


Read = Suppression | Skipped


def read(lines: Iterable[str], form: str, how: Import) -> Iterator[Read]:
    """One for each row, in their order. ``form`` is one of FORMATS; auto goes by the first line.
    Raises UnknownColumns at once."""
    source = iter(lines)
    first = next(source, "").removeprefix("\ufeff")
    delimiter = max(",;\t", key=first.count)
    cells = next(csv.reader([first], delimiter=delimiter), [])
    titled = not any("@" in cell for cell in cells)
    columns = [_plain(cell) for cell in cells] if titled else _untitled(cells)
    chosen = _form(form, columns)
    rows = chain([first], source)
    return _entries(rows, delimiter, columns, chosen, how, skip=1 if titled else 0)


def written(entries: Iterable[Suppression], moment: Callable[[float], str]) -> Iterator[str]:
    """Lines that ``read`` takes back. ``moment`` writes Unix seconds."""
    line = csv.writer(_Echo(), lineterminator="\n").writerow
    yield str(line(_COLUMNS))
    for entry in entries:
        until = "" if entry.until is None else moment(entry.until)
        at = moment(entry.at)
        yield str(line((entry.address, entry.tenant, entry.source, entry.reason, at, until)))


class _Echo:
    """The csv module writes to files alone, but returns what their write returns."""

    def write(self, text: str) -> str:
        return text


# -- rows


class _NotMeant(Exception):
    """A row about something else than a mailbox that should get no more mail."""


@dataclass(frozen=True, slots=True)
class _Facts:
    """What a row says. Moments in Unix seconds; ``at`` None: it doesn't say when."""

    address: str
    reason: str
    at: float | None
    until: float | None = None
    tenant: str = ""
    source: Source = Source.IMPORT


_Cells = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Form:
    """``fits`` tells it by its columns; ``facts`` raises ValueError for a row that can't be read,
    and _NotMeant."""

    fits: Callable[[set[str]], bool]
    facts: Callable[[_Cells], _Facts]


def _entries(
    rows: Iterable[str],
    delimiter: str,
    columns: Sequence[str],
    form: _Form,
    how: Import,
    *,
    skip: int,
) -> Iterator[Read]:
    reader = csv.reader(rows, delimiter=delimiter)
    while True:
        # Where a row begins: what is in quotes may go over several lines.
        line = reader.line_num + 1
        try:
            cells = next(reader, None)
            if cells is None:
                return
            if cells and line > skip:
                yield _entry(form.facts(_named(cells, columns)), how)
        except _NotMeant as error:
            yield Skipped(line, str(error), bad=False)
        except (ValueError, csv.Error) as error:
            yield Skipped(line, str(error), bad=True)


def _named(cells: Sequence[str], columns: Sequence[str]) -> _Cells:
    if len(cells) != len(columns):
        raise ValueError(f"it has {len(cells)} columns, not {len(columns)}")
    return {column: cell.strip() for column, cell in zip(columns, cells, strict=True)}


def _entry(facts: _Facts, how: Import) -> Suppression:
    tenant = facts.tenant if how.tenant is None else how.tenant
    if tenant and tenant not in how.tenants:
        raise ValueError(f'no tenant named "{tenant}"{did_you_mean(tenant, how.tenants)}')
    if not facts.address.isprintable():
        raise ValueError("the address has characters that none can have")
    if facts.until is not None and facts.until <= how.now:
        raise _NotMeant("its time is up")
    return Suppression(
        tenant=tenant,
        address=canonical(checked_address(facts.address)),
        source=facts.source,
        reason=" ".join(facts.reason.split())[:_LONGEST_REASON],
        actor=how.actor,
        at=how.now if facts.at is None else facts.at,
        until=facts.until,
    )


def _moment(text: str) -> float | None:
    """From Unix seconds, RFC 3339, or as in a mail's Date; without a zone it is UTC."""
    if not text:
        return None
    if text.replace(".", "", 1).isdecimal():
        moment = float(text)
    else:
        try:
            read = datetime.fromisoformat(text)
        except ValueError:
            read = parsedate_to_datetime(text)
        moment = (read if read.tzinfo else read.replace(tzinfo=UTC)).timestamp()
    if not 0 <= moment <= _LAST_MOMENT:
        raise ValueError(f'"{text}" is no moment of our time')
    return moment


def _moment_if_any(text: str) -> float | None:
    """Of a provider: that the address is suppressed is worth more than since when."""
    try:
        return _moment(text)
    except ValueError:
        return None


# -- the formats


def _own(cells: _Cells) -> _Facts:
    source = cells.get("source") or Source.IMPORT
    if source not in list(Source):
        raise ValueError(f'no source "{source}"{did_you_mean(source, Source)}')
    return _Facts(
        address=cells["address"],
        reason=cells.get("reason", ""),
        at=_moment(cells.get("at", "")),
        until=_moment(cells.get("until", "")),
        tenant=cells.get("tenant", ""),
        source=Source(source),
    )


def _sendgrid(cells: _Cells) -> _Facts:
    status = cells.get("status", "")
    if any(f"{status}.".startswith(f"{beginning}.") for beginning in _MAILBOX_EXISTS):
        raise _NotMeant(f"status {status} says that the mailbox exists")
    said = cells.get("reason", "spam report") or status
    return _Facts(cells["email"], f"SendGrid: {said}", _moment_if_any(cells["created"]))


def _mailgun(cells: _Cells) -> _Facts:
    said = f"{cells['code']} {cells.get('error', '')}" if "code" in cells else "complaint"
    return _Facts(cells["address"], f"Mailgun: {said}", _moment_if_any(cells["createdat"]))


def _postmark(cells: _Cells) -> _Facts:
    said = _one_of(cells["suppressionreason"], "HardBounce", "SpamComplaint", "ManualSuppression")
    if said == "ManualSuppression":
        raise _NotMeant("ManualSuppression is an unsubscription, or the customer's own wish")
    at = _moment_if_any(cells.get("createdat", ""))
    return _Facts(cells["emailaddress"], f"Postmark: {said}", at)


def _ses(cells: _Cells) -> _Facts:
    said = _one_of(cells["reason"], "BOUNCE", "COMPLAINT")
    at = _moment_if_any(cells.get("lastupdatetime", ""))
    return _Facts(cells["emailaddress"], f"Amazon SES: {said}", at)


def _one_of(text: str, *words: str) -> str:
    """Raises ValueError for another word."""
    for word in words:
        if _plain(word) == _plain(text):
            return word
    raise ValueError(f'"{text}" is none of {", ".join(words)}')


_FORMS = {
    "relay": _Form(lambda titles: "address" in titles and titles <= set(_COLUMNS), _own),
    "sendgrid": _Form(
        lambda titles: {"email", "created"} < titles and bool({"status", "reason", "ip"} & titles),
        _sendgrid,
    ),
    "ses": _Form(lambda titles: {"emailaddress", "reason"} <= titles, _ses),
    "postmark": _Form(lambda titles: {"emailaddress", "suppressionreason"} <= titles, _postmark),
    "mailgun": _Form(
        lambda titles: {"address", "createdat"} <= titles and "tags" not in titles, _mailgun
    ),
}
FORMATS = ("auto", *_FORMS)


# -- which it is


def _form(name: str, columns: Sequence[str]) -> _Form:
    named = set(columns)
    told = ", ".join(columns)[:_LONGEST_SHOWN] or "none"
    if name != "auto":
        if _FORMS[name].fits(named):
            return _FORMS[name]
        raise UnknownColumns(f"its columns are not those of {name}: {told}")
    for form in _FORMS.values():
        if form.fits(named):
            return form
    raise UnknownColumns(f"no known list of bounces or complaints has these columns: {told}")


def _plain(title: str) -> str:
    """ "Created at", created_at and CreatedAt are the same."""
    return "".join(character for character in title.lower() if character.isalnum())


def _untitled(cells: Sequence[str]) -> list[str]:
    """As Amazon SES takes it, else a list of addresses."""
    return ["emailaddress", "reason"] if len(cells) > 1 else ["address"]
