"""The configuration: whatever stands in the file, ``load`` gives a Config or a ConfigError.

Invariants. No other exception and no hang, however deep it is nested and however often an alias
names another; each problem has a place; a line is as short as a person reads; what stands at a
secret's key is in no message.
"""

import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from fuzz.fuzzing import bounded, target
from hypothesis import given
from hypothesis import strategies as st

from relay.config import load
from relay.config.problem import ConfigError
from relay.config.schema import Config

CORPUS = sorted((Path(__file__).parent / "corpus" / "configuration").iterdir())
EXAMPLE = Path(__file__).parents[2] / "config.example.yaml"
SECRET = "Secret-vx7Kq2"
_LONGEST_S = 30.0


def loaded(folder: Path, octets: bytes) -> Config | ConfigError:
    file = folder / "config.yaml"
    file.write_bytes(octets)
    began = time.monotonic()
    try:
        result: Config | ConfigError = load(file, {})
    except ConfigError as error:
        result = error
    assert time.monotonic() - began < _LONGEST_S
    if isinstance(result, ConfigError):
        assert result.problems
        assert all(problem.place for problem in result.problems)
    text = str(result) + repr(result)
    assert SECRET not in text
    return result


def _laughs(merge: bool, generations: int) -> bytes:
    lines = ["a0: &a0 {x: 1, y: 2}" if merge else "a0: &a0 [1, 2]"]
    for number in range(1, generations):
        before = ", ".join([f"*a{number - 1}"] * 4)
        value = f"{{<<: [{before}]}}" if merge else f"[{before}]"
        lines.append(f"a{number}: &a{number} {value}")
    return "\n".join(lines).encode()


@pytest.mark.parametrize(
    "octets",
    [
        b"a: " + b"[" * 500 + b"]" * 500,
        b"a: " + b"[" * 100_000,
        b"a: " + b"{a: " * 100_000,
        b"- " * 100_000,
        b"? " * 100_000,
        b"".join(b" " * depth + b"a:\n" for depth in range(900)),
        b"tenants: " + b"{a: " * 900 + b"1" + b"}" * 900,
        b"a: &a\n  <<: *a\n",
        b"a: &a {x: &b {<<: *a}, <<: *b}\n",
        _laughs(False, 30),
        _laughs(True, 30),
    ],
    ids=[
        "lists", "open lists", "open mappings", "dashes", "question marks", "sections", "tenants",
        "a merge of itself", "a merge in a ring", "laughs", "merged laughs",
    ],
)  # fmt: skip
def test_what_is_too_deep_or_too_much_is_told(tmp_path: Path, octets: bytes) -> None:
    """RecursionError, or many seconds, each."""
    assert isinstance(loaded(tmp_path, octets), ConfigError)


@pytest.mark.parametrize(
    "value", ["!!int ''", "!!int '_'", "!!int '0x'", "!!bool maybe", "!!float ''", "!!float ':'",
              "!!int ':'", "!!float '_'", "!!null x", "!!merge x", "!<> x", "!!timestamp x"]
)  # fmt: skip
def test_a_tag_that_does_not_fit_is_told(tmp_path: Path, value: str) -> None:
    """IndexError and KeyError of the library's."""
    loaded(tmp_path, f"hostname: {value}\n".encode())
    loaded(tmp_path, f"limits: {{recipients: {value}}}\n".encode())


_WORDS = st.sampled_from(
    ["", "~", "true", "no", "0", "-1", "1e400", ".nan", "0x" + "9" * 900, "9" * 4500, "1:2:3",
     "a" * 5000, "*", "*a", "&a b", "<<", "!x y", "%", "@", "`", "a: b", "[", "{", "\t", "#", "'",
     '"\\ud800"', '"\\x00"', "env:NONE", "file:/none", "sealed:x", "credential:", "ses", "acme",
     "999999999d", "1TiB", "::1", "[::1]:25", "a@b.example", "\x85", "\u2028", "\U0001f600"]
)  # fmt: skip
_scalars = _WORDS | st.integers() | st.floats() | st.none() | st.booleans() | st.text(max_size=5)
_values = st.recursive(
    _scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_WORDS, inner, max_size=3),
    max_leaves=6,
)


def _ways(data: Any, way: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """To everything in it."""
    pairs = data.items() if isinstance(data, dict) else enumerate(data)
    found = []
    for key, value in pairs:
        found.append((*way, key))
        if isinstance(value, dict | list):
            found += _ways(value, (*way, key))
    return found


def _sound() -> Any:
    data = yaml.safe_load(EXAMPLE.read_bytes())
    for upstream in data["upstreams"].values():
        upstream["password"] = SECRET
    return data


_WAYS = _ways(_sound())


@target
@bounded(60)
@given(
    edits=st.lists(
        st.tuples(st.sampled_from(_WAYS), _values, st.sampled_from(["set", "drop", "rename"])),
        min_size=1,
        max_size=3,
    )
)
def test_a_sound_configuration_with_faults_in_it(tmp_path_factory: Any, edits: Any) -> None:
    data = _sound()
    for way, value, kind in edits:
        *above, last = way
        place = data
        for key in above:
            place = place[key] if _has(place, key) else {}
        if not _has(place, last):
            continue
        if kind == "set":
            place[last] = value
        elif kind == "drop":
            del place[last]
        elif isinstance(place, dict):
            place[str(value)[:40]] = place.pop(last)
    loaded(_folder(tmp_path_factory), yaml.safe_dump(data, allow_unicode=True).encode())


def _has(data: Any, key: Any) -> bool:
    if isinstance(data, list):
        return isinstance(key, int) and key < len(data)
    return isinstance(data, dict) and key in data


def _folder(factory: Any) -> Path:
    return Path(factory.getbasetemp())


_TOKENS = st.sampled_from(
    [b"\n", b"\n  ", b" ", b": ", b"- ", b"[", b"]", b"{", b"}", b",", b"&a ", b"*a", b"<<: *a",
     b"!!int ", b"!!set ", b"!!binary ", b"? ", b"|\n", b">-\n ", b"---\n", b"...\n",
     b"%YAML 1.1\n",
     b"\t", b"\0", b"\xff", b"\xef\xbb\xbf", b"\xfe\xff", b"'", b'"', b"\\", b"#", b"\r",
     b"tenants", b"upstreams", b"default", b"limits", b"hostname", b"listen", b"a", b"1", b"~",
     b"password: Secret-vx7Kq2", b"host", b"tls", b"from", b"\xc2\x85", b"\xe2\x80\xa8"]
)  # fmt: skip


@target
@bounded(300)
@given(octets=st.lists(_TOKENS | st.binary(max_size=2), max_size=25).map(b"".join))
def test_text_of_no_sense(tmp_path_factory: Any, octets: bytes) -> None:
    loaded(_folder(tmp_path_factory), octets)


@target
@bounded(60)
@given(st.integers(0, 20_000), st.integers(0, 200), st.binary(max_size=4))
def test_the_example_with_a_piece_torn_out(
    tmp_path_factory: Any, start: int, size: int, instead: bytes
) -> None:
    octets = EXAMPLE.read_bytes()
    start %= len(octets)
    loaded(_folder(tmp_path_factory), octets[:start] + instead + octets[start + size :])


@pytest.mark.parametrize("file", CORPUS, ids=lambda file: file.name)
def test_the_corpus_has_its_problems_told(tmp_path: Path, file: Path) -> None:
    assert isinstance(loaded(tmp_path, file.read_bytes()), ConfigError)
