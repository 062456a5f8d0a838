"""The environment's word over the file's.

RELAY_UPSTREAMS__ACME_SENDGRID__PASSWORD replaces one value: case is folded, "-" is "_", "__" goes
one level down, the value is YAML. RELAY_SMTP_* set the default's upstream as plain words, and make
one where there is no file. An empty RELAY_SMTP_* is as good as none. RELAY_IMAGE_* are a container
image's own defaults: they hold where neither the file nor another variable says anything.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from relay.config import shape
from relay.config.addresses import Mailbox, mailbox, named_mailbox
from relay.config.document import Document, read_document
from relay.config.problem import Loc, Place, Problem, did_you_mean, dotted
from relay.config.secrets import Secret, is_reference

_PREFIX = "RELAY_"
_SMTP = "RELAY_SMTP_"
_IMAGE = "RELAY_IMAGE_"
_OTHERS = (_SMTP, _IMAGE, "RELAY_CONFIG", "RELAY_DEMO")
_SMTP_KEYS = {
    "RELAY_SMTP_HOST": "host",
    "RELAY_SMTP_PORT": "port",
    "RELAY_SMTP_TLS": "tls",
    "RELAY_SMTP_USERNAME": "username",
    "RELAY_SMTP_PASSWORD": "password",
}
_SMTP_FROM = ("RELAY_SMTP_FROM_EMAIL", "RELAY_SMTP_FROM_NAME")
# The name of the upstream that RELAY_SMTP_* make.
_UPSTREAM = "smtp"


def override(document: Document, environ: Mapping[str, str], *, fileless: bool) -> None:
    """Put the values of RELAY_ variables in place; their problems name the variable."""
    _Overrides(document, environ).apply(fileless)


class _Overrides:
    def __init__(self, document: Document, environ: Mapping[str, str]) -> None:
        self._document = document
        self._environ = environ
        self._set_by: dict[Loc, str] = {}

    def apply(self, fileless: bool) -> None:
        self._apply_smtp(fileless)
        names = [n for n in self._environ if n.startswith(_PREFIX) and not n.startswith(_OTHERS)]
        # From the outside in, so that a whole section does not undo a value within it.
        for name in sorted(names, key=lambda name: (name.count("__"), name)):
            self._apply_one(name)
        if self._document.data or not fileless:  # else there is no configuration to complete
            self._apply_image()

    def _apply_image(self) -> None:
        for name in sorted(name for name in self._environ if name.startswith(_IMAGE)):
            loc = self._find(name, _IMAGE)
            if loc and self._environ[name] and not self._is_said(loc):
                self._set(loc, name, self._value(name, loc))

    def _is_said(self, loc: Loc) -> bool:
        """Whether there is a value at ``loc``, or anything but a section on the way to it."""
        data: Any = self._document.data
        for key in loc:
            data = data.get(key) if isinstance(data, dict) else data
        return data is not None

    def _apply_one(self, name: str) -> None:
        loc = self._find(name)
        if loc is None:
            return
        if not self._environ[name]:
            self._note(name, loc, "is empty: give it a value, or unset it")
        elif loc in self._set_by:
            self._note(name, loc, f"collides with {self._set_by[loc]}")
        else:
            self._set_by[loc] = name
            if (value := self._value(name, loc)) is None:
                self._note(name, loc, "the value is not YAML: put it in quotes")
            else:
                self._set(loc, name, value)

    def _find(self, name: str, prefix: str = _PREFIX) -> Loc | None:
        """What the variable names; None, and a problem if it looks like an override."""
        loc: Loc = ()
        data: Any = self._document.data
        segments = name.removeprefix(prefix).split("__")
        for segment in segments:
            kind = shape.kind_at(loc)
            known = data if shape.is_named(kind) and isinstance(data, dict) else shape.keys_of(kind)
            found = [key for key in known if _folded(key) == _folded(segment)]
            if len(found) != 1:
                if len(segments) > 1:
                    self._note(name, (), _unfound(segment, found, known))
                return None
            loc = (*loc, found[0])
            data = data.get(found[0]) if isinstance(data, dict) else None
        return loc

    def _value(self, name: str, loc: Loc) -> Any:
        """What the YAML says, None where it says nothing; a secret is taken as it stands, unless
        it is in quotes."""
        text = self._environ[name]
        is_secret = shape.is_secret(shape.kind_at(loc))
        if is_secret and text and text[0] not in "'\"":
            return self._secret(name, text)
        wrapped = read_document(b"value:\n  " + text.replace("\n", "\n  ").encode(), name)
        for inner, written in wrapped.written.items():
            self._document.written[(*loc, *inner[1:])] = written
        value = wrapped.data.get("value")
        return self._secret(name, value) if is_secret and isinstance(value, str) else value

    def _set(self, loc: Loc, name: str, value: Any) -> None:
        """Put ``value`` at ``loc``, making the sections above it where they are missing."""
        data = self._document.data
        for depth, key in enumerate(loc[:-1], 1):
            if data.get(str(key)) is None:  # an empty section is as good as none
                data[str(key)] = {}
            data = data[str(key)]
            if not isinstance(data, dict):
                message = f"{dotted(loc[:depth])} is a plain value: override that one"
                self._note(name, loc, message)
                return
        data[str(loc[-1])] = value
        self._document.places.forget(loc)
        self._document.places[loc] = Place(name)

    def _apply_smtp(self, fileless: bool) -> None:
        given = [n for n, value in self._environ.items() if n.startswith(_SMTP) and value]
        for name in sorted(set(given) - {*_SMTP_KEYS, *_SMTP_FROM}):
            hint = did_you_mean(name, [*_SMTP_KEYS, *_SMTP_FROM])
            self._note(name, (), f"unknown variable{hint}")
        if not given:
            return
        if fileless:
            self._make_default()
        upstream = self._default_upstream(given[0])
        if upstream is None:
            return
        for name, key in _SMTP_KEYS.items():
            if text := self._environ.get(name):
                loc = ("upstreams", upstream, key)
                self._set(loc, name, self._smtp_value(name, loc, text))
        self._set_from()

    def _make_default(self) -> None:
        self._document.data["upstreams"] = {_UPSTREAM: {}}
        self._document.data["default"] = {"upstream": _UPSTREAM}
        for loc in (("upstreams", _UPSTREAM, "host"), ("default", "upstream")):
            self._document.places[loc] = Place("RELAY_SMTP_HOST")

    def _default_upstream(self, name: str) -> str | None:
        """The upstream that RELAY_SMTP_* are about."""
        default = self._document.data.get("default")
        upstream = default.get("upstream") if isinstance(default, dict) else None
        upstreams = self._document.data.get("upstreams")
        if isinstance(upstream, str) and isinstance(upstreams, dict) and upstream in upstreams:
            return upstream
        self._note(name, (), "sets the default's upstream, but the file names none")
        return None

    def _smtp_value(self, name: str, loc: Loc, text: str) -> Any:
        if shape.is_secret(shape.kind_at(loc)):
            return self._secret(name, text)
        return int(text) if text.isascii() and text.isdigit() else text

    def _set_from(self) -> None:
        """Address and display name, each over that of the file's ``from``."""
        email, name = (self._environ.get(variable, "") for variable in _SMTP_FROM)
        if not email and not name:
            return
        loc, variable = ("default", "from"), _SMTP_FROM[0 if email else 1]
        try:
            old = self._from_of_file()
            if not email and not old.address:
                raise ValueError("there is no address to go with it: set RELAY_SMTP_FROM_EMAIL")
            new = named_mailbox(name or old.display_name, email or old.address)
        except ValueError as error:
            self._note(variable, loc, str(error))
        else:
            self._set(loc, variable, new)

    def _from_of_file(self) -> Mailbox:
        text = self._document.data["default"].get("from")
        return mailbox(text) if isinstance(text, str) else Mailbox("", "")

    def _secret(self, name: str, text: str) -> Any:
        """A reference as text like any other; else the variable itself is where it is kept."""
        return text if is_reference(text) else Secret(text, self._environ, variable=name)

    def _note(self, name: str, loc: Loc, message: str) -> None:
        self._document.problems.append(Problem(Place(name), dotted(loc), message))


def _folded(name: str) -> str:
    return name.casefold().replace("-", "_")


def _unfound(segment: str, found: Sequence[str], known: Iterable[str]) -> str:
    if found:
        return f"could mean {' or '.join(found)}: rename one of them"
    names = [_folded(key).upper() for key in known]
    return f'names no setting: there is no "{segment}"{did_you_mean(segment.upper(), names)}'
