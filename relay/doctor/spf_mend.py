"""The SPF record to publish instead: what is there, and what it lacks."""

from collections.abc import Collection, Iterator, Sequence

from relay.doctor.spf_record import Mechanism, SpfRecord, has_macro

# What lets a domain's owner find forgotten senders before their mail is refused.
_CAUTIOUS = "~all"
_STRICTNESS = "?~-"


def mended(
    records: Sequence[SpfRecord], terms: Sequence[str], without: Collection[str] = ()
) -> str:
    """One record of all of them, with the ``terms`` in front of what ends it; ``without`` those
    named (by their text, or as "redirect"), ptr, what can't be read, and what would let everybody
    pass."""
    kept = dict.fromkeys(
        _as_kept(mechanism)
        for record in records
        for mechanism in record.before_all()
        if mechanism.name != "ptr" and mechanism.text not in without
    )
    kept |= dict.fromkeys(terms)
    return " ".join(["v=spf1", *kept, *_end(records, without)])


def _as_kept(mechanism: Mechanism) -> str:
    """In one spelling, so that none stands twice; the case of a macro has a meaning."""
    text = mechanism.text.removeprefix("+")
    return text if has_macro(text) else text.lower()


def _end(records: Sequence[SpfRecord], without: Collection[str]) -> Iterator[str]:
    """An "all", or the redirect that one record alone may have; then its other modifiers."""
    ends = [record.all for record in records if record.all]
    modifiers = list(records[0].modifiers) if len(records) == 1 else []
    redirect = dict(modifiers).get("redirect")
    if ends or redirect is None or "redirect" in without:
        yield _strictest(ends)
        modifiers = [(name, value) for name, value in modifiers if name != "redirect"]
    for name, value in modifiers:
        yield f"{name}={value}"


def _strictest(ends: Sequence[Mechanism]) -> str:
    qualifiers = [end.qualifier for end in ends if end.qualifier != "+"]
    if not qualifiers:
        return _CAUTIOUS
    return f"{max(qualifiers, key=_STRICTNESS.index)}all"
