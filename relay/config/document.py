"""YAML text -> plain data, with the place of every key and item, and every fault of its form.

Keys are taken as they are written (``no`` is a name, not false). Anchors, aliases and merge keys
work; a key that stands twice does not. It knows nothing of what the keys mean.
"""

from collections.abc import Iterator
from typing import Any

import yaml

from relay.config.problem import Loc, Place, Places, Problem
from relay.config.syntax import TOO_DEEP, in_words

_TAG = "tag:yaml.org,2002:"
_MERGE = _TAG + "merge"
_CONVERTED = frozenset({_TAG + "bool", _TAG + "int", _TAG + "float"})
_NULL = _TAG + "null"
# Dates and "=" are text here: no key wants them as anything else.
_TEXT = frozenset({_TAG + "str", _TAG + "timestamp", _TAG + "value"})
# No configuration needs half of it; libyaml's stack, and Python's, have an end.
_DEEPEST = 50
# Aliases of aliases make as many values as one likes out of a few lines; ten thousand tenants have
# a fifth of this.
_MOST_VALUES = 500_000


class Document:
    """``data`` is what stood there; ``written`` has the text of what YAML made no text of;
    ``faulty`` are the values that ``problems`` are about."""

    def __init__(self) -> None:
        self.data: dict[str, Any] = {}
        self.places = Places()
        self.written: dict[Loc, str] = {}
        self.problems: list[Problem] = []
        self.faulty: set[Loc] = set()

    def note(self, loc: Loc, message: str) -> None:
        self.problems.append(self.places.problem(loc, message))


def read_document(octets: bytes, source: str) -> Document:
    """The configuration as written; ``source`` is the file's name for problems."""
    document = Document()
    document.places[()] = Place(source)
    data = _Reader(document, source).read(octets)
    if isinstance(data, dict):
        document.data = data
    elif data is not None:
        place = Place(source, 1, 1)
        document.problems.append(Problem(place, "", "must hold keys with values, like a: b"))
    return document


class _TooMuchError(Exception):
    """The file stands for more values than anybody has written."""


class _Loader(yaml.CSafeLoader):
    """Refuses to go too deep."""

    depth = 0

    def descend_resolver(self, current_node: Any, current_index: Any) -> None:
        self.depth += 1
        if self.depth > _DEEPEST:
            raise yaml.MarkedYAMLError(problem=TOO_DEEP, problem_mark=current_node.start_mark)

    def ascend_resolver(self) -> None:
        self.depth -= 1


class _Reader:
    """Walks the nodes of one YAML document."""

    def __init__(self, document: Document, source: str) -> None:
        self._document = document
        self._source = source
        self._loader: _Loader
        self._open: set[int] = set()
        self._merging: set[int] = set()
        self._values = 0

    def read(self, octets: bytes) -> Any:
        """The data, or None where there is none or the text is not YAML."""
        try:
            self._loader = _Loader(octets)
            root = self._loader.get_single_node()
        except yaml.YAMLError as error:
            line, column, words = in_words(error, octets)
            place = Place(self._source, line, column)
            self._document.problems.append(Problem(place, "", words))
            return None
        try:
            return self._value(root, ()) if root else None
        except _TooMuchError:
            words = f"its aliases (*) make more than {_MOST_VALUES} values of it"
            self._document.problems.append(Problem(Place(self._source, 1, 1), "", words))
            return None

    def _value(self, node: yaml.Node, loc: Loc) -> Any:
        if id(node) in self._open:
            self._fault(node, loc, "an alias leads back to itself")
            return None
        if len(self._open) >= _DEEPEST:
            self._fault(node, loc, TOO_DEEP)
            return None
        self._count()
        self._open.add(id(node))
        try:
            if isinstance(node, yaml.MappingNode):
                return self._mapping(node, loc)
            if isinstance(node, yaml.SequenceNode):
                return self._sequence(node, loc)
            return self._scalar(node, loc)
        finally:
            self._open.discard(id(node))

    def _mapping(self, node: yaml.MappingNode, loc: Loc) -> dict[str, Any]:
        pairs = self._pairs(node, loc)
        for key, (key_node, _) in pairs.items():
            self._document.places[(*loc, key)] = self._place(key_node)
        return {key: self._value(value, (*loc, key)) for key, (_, value) in pairs.items()}

    def _sequence(self, node: yaml.SequenceNode, loc: Loc) -> list[Any]:
        for index, item in enumerate(node.value):
            self._document.places[(*loc, index)] = self._place(item)
        return [self._value(item, (*loc, index)) for index, item in enumerate(node.value)]

    def _scalar(self, node: yaml.Node, loc: Loc) -> Any:
        if node.tag in _TEXT:
            return node.value
        if node.tag == _NULL:
            return None
        if node.tag not in _CONVERTED:
            self._fault(node, loc, "has a tag (!) that means nothing here")
            return None
        self._document.written[loc] = node.value
        try:
            return self._loader.construct_object(node)
        except (ValueError, LookupError, yaml.YAMLError):
            self._fault(node, loc, "does not fit the tag (!) before it")
            return None

    def _pairs(self, node: yaml.MappingNode, loc: Loc) -> dict[str, tuple[yaml.Node, yaml.Node]]:
        """Key -> (node of the key, node of the value); own keys win over merged ones."""
        own: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        merged: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        for key_node, value_node in node.value:
            if key_node.tag == _MERGE:
                for base in self._bases(value_node, loc):
                    merged = {**self._merged(base, loc), **merged}
            elif not isinstance(key_node, yaml.ScalarNode) or not key_node.value:
                self._fault(key_node, loc, "a name is missing before a colon")
            elif key_node.value in own:
                first = self._place(own[key_node.value][0]).line
                message = f"stands here twice; the other one is in line {first}"
                self._fault(key_node, (*loc, key_node.value), message)
            else:
                own[key_node.value] = (key_node, value_node)
        return {**merged, **own}

    def _merged(self, base: yaml.MappingNode, loc: Loc) -> dict[str, tuple[yaml.Node, yaml.Node]]:
        if id(base) in self._merging or len(self._merging) >= _DEEPEST:
            self._fault(base, loc, "<< leads back to itself, or through too many aliases")
            return {}
        self._count()
        self._merging.add(id(base))
        try:
            return self._pairs(base, loc)
        finally:
            self._merging.discard(id(base))

    def _bases(self, node: yaml.Node, loc: Loc) -> Iterator[yaml.MappingNode]:
        """The mappings that a merge key (<<) names."""
        for base in node.value if isinstance(node, yaml.SequenceNode) else [node]:
            if isinstance(base, yaml.MappingNode):
                yield base
            else:
                self._fault(base, loc, "<< wants an alias of a mapping, like <<: *common")

    def _count(self) -> None:
        self._values += 1
        if self._values > _MOST_VALUES:
            raise _TooMuchError

    def _fault(self, node: yaml.Node, loc: Loc, message: str) -> None:
        self._document.places[loc] = self._place(node)
        self._document.note(loc, message)
        self._document.faulty.add(loc)

    def _place(self, node: yaml.Node) -> Place:
        mark = node.start_mark
        return Place(self._source, mark.line + 1, mark.column + 1)
