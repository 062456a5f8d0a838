"""relay suppress against a real store, which no relay serves."""

import asyncio
import io
from pathlib import Path

import pytest
from support.configs import relay_config
from support.verbs import Relay, command_line

from relay.queue.sqlite.store import SqliteStore
from relay.record.audit import json_line

BOUNCES = """\
status,reason,email,created
5.1.1,550 5.1.1 no such user,Ann@Customer.example,1719922921
5.1.1,550 5.1.1 no such user,not an address,1719922921
4.0.0,421 try later,later@customer.example,1719922921
"""


@pytest.fixture
def relay(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Relay:
    """The command line, beside an empty store."""

    async def serve_once() -> None:
        store = SqliteStore(tmp_path / "relay.db", render=json_line, committed=lambda told: None)
        await store.open()
        await store.close()

    upstreams = {"acme-mail": {"host": "localhost"}}
    tenants = {"acme": {"domains": ["acme.example"], "upstream": "acme-mail"}}
    config_file = tmp_path / "config.yaml"
    config_file.write_text(relay_config(tmp_path, 2525, upstreams, tenants))
    asyncio.run(serve_once())
    monkeypatch.setenv("SUDO_USER", "dana")
    return command_line(config_file, capsys)


def suppressed(relay: Relay, *chosen: str) -> dict[str, str | None]:
    """Address and tenant of what is listed."""
    return {
        row["address"]: row["tenant"] for row in relay("suppress", "list", "--json", *chosen).rows
    }


def test_add_is_listed_with_who_why_and_until_when(relay: Relay):
    done = relay(
        "suppress", "add", "Ann@Customer.example", "--tenant", "acme", "--for", "30d",
        "--reason", " has\nleft",
    )  # fmt: skip
    assert (done.status, done.err) == (0, "")
    assert done.out.startswith("ann@customer.example is suppressed for acme until 20")
    [row] = relay("suppress", "list", "--json").rows
    assert (row["address"], row["tenant"]) == ("ann@customer.example", "acme")
    assert (row["source"], row["reason"], row["actor"]) == ("manual", "has left", "dana")
    assert row["until"] > row["at"]
    table = relay("suppress", "list").out
    assert "has left (dana)" in table
    [event] = relay("audit", "--event", "suppression.added", "--json").rows
    assert event["address"] == "ann@customer.example"


def test_without_a_tenant_it_is_for_all(relay: Relay):
    done = relay("suppress", "add", "a@x.example", "b@x.example", "--reason", "gone")
    assert done.out == (
        "a@x.example is suppressed for all tenants\nb@x.example is suppressed for all tenants\n"
    )
    assert suppressed(relay) == {"a@x.example": None, "b@x.example": None}
    assert suppressed(relay, "--address", "B@x.example") == {"b@x.example": None}
    assert suppressed(relay, "--tenant", "") == {"a@x.example": None, "b@x.example": None}
    assert suppressed(relay, "--tenant", "acme") == {}


def test_remove_ends_it_and_says_where_there_was_none(relay: Relay):
    relay("suppress", "add", "a@x.example", "--reason", "gone")
    relay("suppress", "add", "b@x.example", "--tenant", "acme", "--reason", "gone")
    done = relay("suppress", "remove", "A@x.example", "b@x.example", "--reason", "back")
    assert done.status == 1
    assert done.out == "A@x.example is not suppressed for all tenants any more\n"
    assert done.err == "relay: b@x.example is not suppressed for all tenants, but for acme\n"
    assert suppressed(relay) == {"b@x.example": "acme"}
    [event] = relay("audit", "--event", "suppression.removed", "--json").rows
    assert (event["address"], event["actor"], event["reason"]) == ("a@x.example", "dana", "back")
    assert relay("suppress", "remove", "b@x.example", "--tenant", "acme").status == 0
    assert relay("suppress", "list").out == "nobody is suppressed\n"


def test_import_names_bad_rows_and_takes_the_others(relay: Relay, tmp_path: Path):
    file = tmp_path / "bounces.csv"
    file.write_text(BOUNCES)
    done = relay("suppress", "import", str(file), "--tenant", "acme")
    assert done.status == 1
    assert done.err.startswith(f'{file}:3: "not an address" is not')
    assert done.out == (
        "1 read, 1 of them new or changed; 1 left out: no bounces or complaints, or over; "
        "1 could not be read\n"
    )
    [row] = relay("suppress", "list", "--json").rows
    assert (row["address"], row["tenant"]) == ("ann@customer.example", "acme")
    assert (row["source"], row["at"]) == ("import", "2024-07-02T12:22:01.000000Z")
    assert row["reason"] == "SendGrid: 550 5.1.1 no such user"


def test_each_change_answers_with_rows(relay: Relay, tmp_path: Path):
    both = ("ann@customer.example", "bob@customer.example")
    added = relay("suppress", "add", *both, "--reason", "left", "--json").rows
    assert added == relay("suppress", "list", "--json").rows
    exported = tmp_path / "list.csv"
    [row] = relay("suppress", "export", str(exported), "--json").rows
    assert row == {"file": str(exported), "size": exported.stat().st_size}
    done = relay("suppress", "remove", *both, "eve@customer.example", "--json")
    assert [(row["address"], row["tenant"], row["removed"]) for row in done.rows] == [
        (both[0], None, True),
        (both[1], None, True),
        ("eve@customer.example", None, False),
    ]
    assert done.status == 1
    with exported.open("a") as file:
        file.write("nonsense,,manual,,,\n")
    done = relay("suppress", "import", str(exported), "--json")
    assert done.rows == [
        {"source": str(exported), "read": 2, "changed": 2, "left_out": 0, "unreadable": 1}
    ]
    assert (done.status, f"{exported}:4:" in done.err) == (1, True)


def test_export_has_no_rows_beside_the_list_itself(relay: Relay):
    done = relay("suppress", "export", "--json")
    assert (done.status, done.out) == (2, "")


def test_a_second_import_changes_nothing(relay: Relay, tmp_path: Path):
    file = tmp_path / "list.txt"
    file.write_bytes(b"a@x.example\r\nb@x.example\r\n\r\n\xff@x.example\r\n")
    first, second = (relay("suppress", "import", str(file)) for _ in range(2))
    assert "2 read, 2 of them new or changed; 1 could not be read" in first.out
    assert "2 read, 0 of them new or changed" in second.out
    assert f"{file}:4: the address has characters that none can have" in second.err


def test_import_reads_standard_input(relay: Relay, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    file = tmp_path / "list.csv"
    file.write_text("address\na@x.example\n")
    with open(file) as stream:
        monkeypatch.setattr("relay.cli.suppress.intake.STANDARD_INPUT", stream.fileno())
        assert relay("suppress", "import", "-").status == 0
    assert suppressed(relay) == {"a@x.example": None}


def test_a_file_that_is_no_list_is_refused_whole(relay: Relay, tmp_path: Path):
    file = tmp_path / "unsubscribes.csv"
    file.write_text("email,created\na@x.example,1\n")
    done = relay("suppress", "import", str(file))
    assert (done.status, done.out) == (1, "")
    assert done.err == (
        f"relay: {file}: no known list of bounces or complaints has these columns: email, created\n"
    )
    assert suppressed(relay) == {}


def test_export_is_read_back(relay: Relay, tmp_path: Path):
    relay("suppress", "add", "a@x.example", "--reason", 'said "no, never"')
    relay("suppress", "add", "b@x.example", "--tenant", "acme", "--for", "2d", "--reason", "leave")
    before = relay("suppress", "list", "--json").rows
    file = tmp_path / "list.csv"
    assert relay("suppress", "export", str(file)).status == 0
    assert file.stat().st_mode & 0o777 == 0o600
    assert relay("suppress", "export").out == file.read_text()
    relay("suppress", "remove", "a@x.example")
    relay("suppress", "remove", "b@x.example", "--tenant", "acme")
    assert relay("suppress", "import", str(file)).status == 0
    assert relay("suppress", "list", "--json").rows == before


def test_export_does_not_write_over_a_file(relay: Relay, tmp_path: Path):
    file = tmp_path / "list.csv"
    file.write_text("mine")
    done = relay("suppress", "export", str(file))
    assert (done.status, file.read_text()) == (1, "mine")
    assert done.err == f"relay: {file} is there already: name a new file\n"


def test_progress_is_for_terminals_alone(
    relay: Relay, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    file = tmp_path / "list.txt"
    file.write_text("".join(f"a{number}@x.example\n" for number in range(1500)))
    monkeypatch.setattr("relay.cli.progress._FIRST_AFTER_S", 0.0)
    monkeypatch.setattr("relay.cli.progress._EVERY_S", 0.0)
    assert relay("suppress", "import", str(file)).err == ""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    relay("suppress", "import", str(file))
    assert "\r1,500 rows, " in terminal.getvalue()
    assert " a second\r" in terminal.getvalue()


@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        (("add", "a@x.example"), 2, "--reason"),
        (("add", "a@x.example", "--reason", ""), 2, "say why"),
        (("add", "nobody", "--reason", "x"), 2, "it has no @"),
        (("add", "a@x.example", "--reason", "x", "--for", "30"), 2, "needs a unit"),
        (("add", "a@x.example", "--reason", "x", "--for", "0s"), 2, "say how long"),
        (("add", "a@x.example", "--reason", "x", "--tenant", "acne"), 1, 'did you mean "acme"?'),
        (("import", "x.csv", "--tenant", "acne"), 1, 'did you mean "acme"?'),
        (("import", "x.csv", "--format", "sendgird"), 2, 'did you mean "sendgrid"?'),
        (("import", "/absent.csv"), 1, "relay: /absent.csv: No such file or directory\n"),
    ],
)
def test_what_is_wrong_is_said(relay: Relay, arguments: tuple[str, ...], status: int, told: str):
    done = relay("suppress", *arguments)
    assert (done.status, done.out) == (status, "")
    assert told in done.err
    assert suppressed(relay) == {}
