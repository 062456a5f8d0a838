import pytest

from relay.config.document import read_document
from relay.config.problem import Place


def faults(text: str | bytes) -> list[str]:
    octets = text if isinstance(text, bytes) else text.encode()
    return [str(problem) for problem in read_document(octets, "c.yaml").problems]


def test_places_are_those_of_keys_and_items() -> None:
    document = read_document(b"a:\n  b: 1\n  c: [x,\n      y]\n", "c.yaml")
    assert document.data == {"a": {"b": 1, "c": ["x", "y"]}}
    assert document.places.get(("a", "b")) == Place("c.yaml", 2, 3)
    assert document.places.get(("a", "c", 1)) == Place("c.yaml", 4, 7)
    assert document.places.get(("a", "c", 1, "more")) == Place("c.yaml", 4, 7)
    assert document.places.get(("z",)) == Place("c.yaml")


def test_keys_are_taken_as_they_are_written() -> None:
    assert read_document(b"no: 1\n010: 2\n1.50: 3\n2024-05-01: 4\n", "").data == {
        "no": 1,
        "010": 2,
        "1.50": 3,
        "2024-05-01": 4,
    }


def test_dates_are_text_and_what_yaml_converts_is_remembered() -> None:
    document = read_document(b"a: 2024-05-01\nb: no\nc: 0x10\nd: '5'\n", "")
    assert document.data == {"a": "2024-05-01", "b": False, "c": 16, "d": "5"}
    assert document.written == {("b",): "no", ("c",): "0x10"}


def test_aliases_and_merge_keys_work() -> None:
    text = b"one: &one {a: 1, b: 2}\ntwo: {<<: *one, b: 3}\nthree: *one\n"
    document = read_document(text, "c.yaml")
    assert document.problems == []
    assert document.data["two"] == {"a": 1, "b": 3}
    assert document.data["three"] == {"a": 1, "b": 2}
    assert document.data["three"] is not document.data["one"]
    assert document.places.get(("two", "a")) == Place("c.yaml", 1, 12)


def test_of_several_merged_mappings_the_first_wins() -> None:
    text = b"one: &one {a: 1}\ntwo: &two {a: 2, b: 2}\nthree: {<<: [*one, *two]}\n"
    assert read_document(text, "").data["three"] == {"a": 1, "b": 2}


def test_a_duplicate_key_names_both_places() -> None:
    assert faults("a:\n  b: 1\n  c: 2\n  b: 3\n") == [
        "c.yaml:4:3: a.b: stands here twice; the other one is in line 2"
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: &x [*x]\n", "c.yaml:1:4: a[0]: an alias leads back to itself"),
        ("a: !foo s3cret\n", "c.yaml:1:4: a: has a tag (!) that means nothing here"),
        ("a: !!int s3cret\n", "c.yaml:1:4: a: does not fit the tag (!) before it"),
        ("<<: 1\n", "c.yaml:1:5: << wants an alias of a mapping, like <<: *common"),
        ("? [a]\n: 1\n", "c.yaml:1:3: a name is missing before a colon"),
        ("a: {'': 1}\n", "c.yaml:1:5: a: a name is missing before a colon"),
        ("- a\n", "c.yaml:1:1: must hold keys with values, like a: b"),
    ],
)
def test_faults_of_form_have_their_place(text: str, expected: str) -> None:
    assert faults(text) == [expected]


@pytest.mark.parametrize(
    ("text", "place", "advice"),
    [
        ("a:\n\tb: 1\n", "2:1", "a tab stands here"),
        ("a: 1\n\tb: 2\n", "2:1", "a tab stands here"),
        ("listen:\n  - [::1]:25\n", "2:6", 'quotes: "[::1]:25"'),
        ("listen: [127.0.0.1:25, [::1]:25]\n", "1:25", 'quotes: "[::1]:25"'),
        ("networks: [127.0.0.0/8, ::1/128]\n", "1:25", '"::1/128"'),
        (
            "domains:\n  - *.acme.example\n",
            "2:6",
            'needs quotes (it is an alias of nothing else): "*.',
        ),
        ("a: 1\n b: 2\n", "2:3", "indented more"),
        ("a: b: c\n", "1:5", "needs quotes"),
        ("a:\n  - b\n c: d\n", "3:2", "indentation fits none"),
        ("a: 1\nb\n", "3:1", "just above"),
        (
            "a: [1, 2\nb: 3\n",
            "2:2",
            "is not closed, or a comma is missing in it (it begins in line 1)",
        ),
        ("a: {x: 1\nb: 3\n", "2:2", "is not closed"),
        ("a: 'b\n", "2:1", "never closed (it begins in line 1)"),
        ("a: @b\n", "1:4", "begins with this character needs quotes"),
        ('a: "b\\qc"\n', "1:6", "use single quotes"),
        ("a: 1\n---\nb: 2\n", "2:1", "only one"),
        (b"a: 1\nb: caf\xe9\n", "2:7", "save the file as UTF-8"),
        ("a: 1\nb: \x07\n", "2:4", "control character"),
    ],
)
def test_syntax_errors_are_told_in_words(text: str | bytes, place: str, advice: str) -> None:
    (fault,) = faults(text)
    assert fault.startswith(f"c.yaml:{place}: ")
    assert advice in fault


def test_nothing_is_an_empty_configuration() -> None:
    assert read_document(b"", "").data == {}
    assert read_document(b"# all of it is a comment\n", "").problems == []
