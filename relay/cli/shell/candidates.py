"""What the last word of a command line may become: verbs, options, and names of the configuration.

It walks the tree of verbs by what each declares, runs none of them, and reads no more of the
configuration than the names in it.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

FILES = ":files"


@dataclass(slots=True)
class _Place:
    """Where on the line one is: the verb, its option that waits for a value, and how many
    arguments were given."""

    verb: Any
    group: str = ""
    waiting: Any = None
    arguments: int = 0
    only_arguments: bool = False
    config: str | None = field(default_factory=lambda: os.environ.get("RELAY_CONFIG"))

    def step(self, word: str) -> None:
        if self.waiting is not None and word == "=":  # bash makes a word of it
            return
        if self.waiting is not None:
            self._give(word)
        elif word == "--":
            self.only_arguments = True
        elif word.startswith("-") and not self.only_arguments:
            self._option(word)
        elif _verbs(self.verb):
            self.group, self.verb = self.verb.name or "", _verbs(self.verb).get(word)
        else:
            self.arguments += 1

    def _option(self, word: str) -> None:
        name, equals, value = word.partition("=")
        found = _options(self.verb).get(name)
        if found is not None and not found.is_flag:
            self.waiting = found
            if equals:
                self._give(value)

    def _give(self, value: str) -> None:
        if "--config" in self.waiting.opts:
            self.config = os.path.expanduser(value)
        self.waiting = None


def candidates(root: Any, words: Sequence[str]) -> Iterator[str]:
    """Lines: a candidate, with its help behind a tab; FILES where the name of a file is wanted."""
    *before, last = words or [""]
    place = _Place(root)
    for word in before:
        place.step(word)
        if place.verb is None:
            return
    last = "" if last == "=" else last
    lead = ""
    if last.startswith("--") and "=" in last and not place.only_arguments:
        lead = f"{last.partition('=')[0]}="
        place.step(lead.removesuffix("="))
        last = last.removeprefix(lead)
    for line in _all(place, last):
        if line == FILES or line.startswith(last):
            yield line if line == FILES else lead + line


def _all(place: _Place, last: str) -> Iterable[str]:
    verb = place.verb
    if place.waiting is not None:
        return _values(place.waiting.opts[-1], place)
    if last.startswith("-") and not place.only_arguments:
        return [f"{name}\t{_brief(one.help)}" for name, one in _options(verb).items()]
    if verbs := _verbs(verb):
        shown = ((name, one) for name, one in verbs.items() if not one.hidden)
        return [f"{name}\t{one.get_short_help_str(70)}" for name, one in shown]
    arguments = [one for one in verb.params if one.param_type_name == "argument"]
    for index, argument in enumerate(arguments):
        if index == place.arguments or argument.nargs == -1:
            return _values((argument.metavar or "").strip("[.]"), place)
    return ()


def _values(what: str, place: _Place) -> Iterable[str]:
    """Of an option, or of an argument by its metavar; NAME is of what the group is about."""
    find = _KINDS.get(place.group if what == "NAME" else what)
    return find(place) if find else ()


def _verbs(verb: Any) -> dict[str, Any]:
    return getattr(verb, "commands", {})


def _options(verb: Any) -> dict[str, Any]:
    """By their long names, and by the short ones that have no other."""
    options = (one for one in verb.params if one.param_type_name == "option")
    return {name: one for one in options for name in one.opts} | {"--help": _HELP}


class _Help:
    opts = ("--help",)
    is_flag = True
    help = "Show this message and exit."


_HELP = _Help()


def _brief(text: str | None) -> str:
    return " ".join((text or "").split())


def _tenants(place: _Place) -> Iterable[str]:
    return _names("tenants", place)


def _upstreams(place: _Place) -> Iterable[str]:
    return _names("upstreams", place)


def _events(place: _Place) -> Iterable[str]:
    from relay.model.events import EVENT_NAMES

    return EVENT_NAMES


def _causes(place: _Place) -> Iterable[str]:
    from relay.model.causes import REMEDIES

    return [f"{cause}\t{remedy}" for cause, remedy in REMEDIES.items()]


def _names(section: str, place: _Place) -> Iterable[str]:
    paths = [place.config] if place.config else ["/etc/relay/config.yaml", "config.yaml"]
    for path in paths:
        if os.path.exists(path):
            with open(path, "rb") as file:
                return list(keys(file, section))
    return ()


def keys(yaml_text: Any, section: str) -> Iterator[str]:
    """The keys of a top-level mapping, as far as the text can be understood: it may be edited just
    now. To check ten thousand tenants as ``load`` does would take seconds."""
    import yaml

    name = ""
    with suppress(yaml.YAMLError):
        for depth, key in _keys(yaml.parse(yaml_text, Loader=yaml.CSafeLoader)):
            if depth == 1:
                name = key
            elif depth == 2 and name == section:
                yield key


def _keys(events: Iterable[Any]) -> Iterator[tuple[int, str]]:
    """Every key that is text, with its depth; 1 is on top."""
    import yaml

    # For each collection that is open, whether what comes next in it is a key; None in a list.
    next_is_key: list[bool | None] = [None]
    for event in events:
        if isinstance(event, yaml.CollectionStartEvent):
            next_is_key.append(isinstance(event, yaml.MappingStartEvent) or None)
            continue
        if isinstance(event, yaml.CollectionEndEvent):
            next_is_key.pop()
        elif not isinstance(event, yaml.ScalarEvent | yaml.AliasEvent):
            continue
        elif next_is_key[-1] and isinstance(event, yaml.ScalarEvent):
            yield len(next_is_key) - 1, event.value
        if next_is_key[-1] is not None:
            next_is_key[-1] = not next_is_key[-1]


def _files(place: _Place) -> Iterable[str]:
    return (FILES,)


def _shells(place: _Place) -> Iterable[str]:
    return ("bash", "zsh", "fish")


def _formats(place: _Place) -> Iterable[str]:
    from relay.cli.suppress.formats import FORMATS

    return FORMATS


_KINDS: dict[str, Callable[[_Place], Iterable[str]]] = {
    "tenant": _tenants,
    "TENANT": _tenants,
    "--tenant": _tenants,
    "upstream": _upstreams,
    "UPSTREAM": _upstreams,
    "--upstream": _upstreams,
    "--via": _upstreams,
    "--event": _events,
    "--cause": _causes,
    "--format": _formats,
    "--config": _files,
    "--to": _files,
    "FILE": _files,
    "SHELL": _shells,
}
