"""Suppression lists as CSV: the relay's own, and what the providers export.

It knows no file and no store. Columns go by their names in the first line, whatever their order,
case, blanks and underscores. What is known of the providers' (looked up in July 2026):

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
# SendGrid's blocks, beside its bounces: refused for now, for a full mailbox, for policy.
_MAILBOX_EXISTS = ("4", "5.2.2", "5.7")

Cells = Mapping[str, str]


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
    titles = next(csv.reader([first], delimiter=delimiter), [])
    if any("@" in title for title in titles):
        columns, rows, before = _untitled(titles), chain([first], source), 0
    else:
        columns, rows, before = [_plain(title) for title in titles], source, 1
    chosen = _form(form, columns)
    return _entries(csv.reader(rows, delimiter=delimiter), before, columns, chosen, how)


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


# -- which format it is


@dataclass(frozen=True, slots=True)
class _Form:
    """``fits`` tells it by its columns; ``entry`` raises ValueError for a row that can't be read,
    and _NotMeant for one that is about something else."""

    fits: Callable[[set[str]], bool]
    entry: Callable[[Cells, Import], Suppression]


def _form(name: str, columns: Sequence[str]) -> _Form:
    named = set(columns)
    if name != "auto":
        if _FORMS[name].fits(named):
            return _FORMS[name]
        raise UnknownColumns(f"its columns are not those of {name}: {_shown(columns)}")
    for form in _FORMS.values():
        if form.fits(named):
            return form
    raise UnknownColumns(
        f"no list of bounces or complaints that is known has these columns: {_shown(columns)}"
    )


def _shown(columns: Sequence[str]) -> str:
    return (", ".join(columns) or "none")[:_LONGEST_SHOWN]


def _plain(title: str) -> str:
    """ "Created at", created_at and CreatedAt are the same."""
    return "".join(character for character in title.lower() if character.isalnum())


def _untitled(cells: Sequence[str]) -> list[str]:
    """Amazon SES's way of writing it, else a list of addresses."""
    return ["emailaddress", "reason"] if len(cells) > 1 else ["address"]


# -- rows


class _NotMeant(Exception):
    """A row about something else than bounces and complaints."""


def _entries(
    rows: "csv._reader", before: int, columns: Sequence[str], form: _Form, how: Import
) -> Iterator[Read]:
    """``before`` lines have been read already."""
    while True:
        line = before + rows.line_num + 1
        try:
            cells = next(rows, None)
            if cells is None:
                return
            if cells:
                yield _entry(cells, columns, form, how)
        except _NotMeant as error:
            yield Skipped(line, str(error), bad=False)
        except (ValueError, csv.Error) as error:
            yield Skipped(line, str(error), bad=True)


def _entry(
    cells: Sequence[str], columns: Sequence[str], form: _Form, how: Import
) -> Suppression:
    if len(cells) != len(columns):
        raise ValueError(f"it has {len(cells)} columns, not {len(columns)}")
    return form.entry({c: cell.strip() for c, cell in zip(columns, cells, strict=True)}, how)


def _address(text: str) -> str:
    if not text.isprintable():
        raise ValueError("the address has characters that none can have")
    return canonical(checked_address(text))


def _made(
    how: Import, address: str, reason: str, at: str, tenant: str = "", **more: object
) -> Suppression:
    """Of a provider: when it was made is worth less than that it is there, so ``at`` may be
    unreadable."""
    return Suppression(
        tenant=how.tenant if how.tenant is not None else tenant,
        address=_address(address),
        source=Source.IMPORT,
        reason=" ".join(reason.split())[:_LONGEST_REASON],
        actor=how.actor,
        at=_moment_or_none(at) or how.now,
    )


def _moment(text: str) -> float:
    """Unix seconds, RFC 3339, or as in a mail's Date; without a zone it is UTC."""
    try:
        return float(text)
    except ValueError:
        pass
    try:
        read = datetime.fromisoformat(text)
    except ValueError:
        read = parsedate_to_datetime(text)
    return (read if read.tzinfo else read.replace(tzinfo=UTC)).timestamp()


# -- the formats


def _own(cells: Cells, how: Import) -> Suppression:
    tenant = cells.get("tenant", "") if how.tenant is None else how.tenant
    if tenant and tenant not in how.tenants:
        raise ValueError(f'no tenant named "{tenant}"{did_you_mean(tenant, how.tenants)}')
    source = cells.get("source") or Source.IMPORT
    if source not in list(Source):
        raise ValueError(f'no source "{source}"{did_you_mean(source, Source)}')
