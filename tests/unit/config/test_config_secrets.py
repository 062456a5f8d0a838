import copy
import os
from pathlib import Path

import pytest

from relay.config import service
from relay.config.sealing import KeyFile, key_file_text
from relay.config.secrets import PLAIN, Secret, SecretError, secret


def test_env_is_looked_up_when_it_is_revealed() -> None:
    environ: dict[str, str] = {}
    reference = secret("env:KEY", environ)
    with pytest.raises(SecretError, match="variable KEY is not set"):
        reference.reveal()
    environ["KEY"] = "s3cret"
    assert reference.reveal() == "s3cret"
    assert reference.reference == "env:KEY"


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_file_is_read_without_its_line_end(tmp_path: Path, end: str) -> None:
    (tmp_path / "key").write_text("s3cret " + end)
    reference = secret(f"file:{tmp_path}/key")
    assert reference.reveal() == "s3cret "
    assert reference.reference == f"file:{tmp_path}/key"
    assert reference.file == tmp_path / "key"


def test_half_a_rotation_is_not_seen(tmp_path: Path) -> None:
    """file: rotates at reload, which makes new values; a live one keeps what it has read."""
    (tmp_path / "key").write_text("old")
    reference = secret(f"file:{tmp_path}/key")
    assert reference.reveal() == "old"
    (tmp_path / "key").write_text("new")
    assert reference.reveal() == "old"
    assert secret(f"file:{tmp_path}/key").reveal() == "new"


def test_credential_is_found_in_the_services_directory(tmp_path: Path) -> None:
    (tmp_path / "acme").write_text("s3cret\n")
    reference = secret("credential:acme", {"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert reference.reveal() == "s3cret"


def test_an_absent_credential_says_where_it_was_looked_for(tmp_path: Path) -> None:
    reference = secret("credential:none-such", {"CREDENTIALS_DIRECTORY": str(tmp_path)})
    with pytest.raises(SecretError) as raised:
        reference.reveal()
    for part in (str(tmp_path), "/run/credentials/relay.service", "/run/secrets", "LoadCredential"):
        assert part in str(raised.value)


@pytest.mark.parametrize("sign", ["folder", "image"])
def test_in_a_container_it_says_how_a_secret_comes_in_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sign: str
) -> None:
    """It spoke of relay.service, which is not there."""
    secrets = tmp_path / "secrets"
    environ = {"RELAY_IMAGE_LISTEN": "[0.0.0.0:25]"} if sign == "image" else {}
    if sign == "folder":
        secrets.mkdir()
    monkeypatch.setattr(service, "CONTAINER_SECRETS", secrets)
    monkeypatch.setattr(service, "BOOTED", tmp_path / "booted")
    credential, variable = secret("credential:acme", environ), secret("env:ACME_KEY", environ)
    assert f"{secrets}/acme" in str(credential.trouble)
    assert "ACME_KEY" in str(variable.trouble)
    for told in (str(credential.trouble), str(variable.trouble)):
        assert "container" in told
        assert "relay.service and restart" not in told
        assert "EnvironmentFile" not in told


def test_what_systemd_has_started_is_in_no_container_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether it is the service that asks, or a verb on a machine that keeps secrets there, too."""
    monkeypatch.setattr(service, "CONTAINER_SECRETS", tmp_path)
    monkeypatch.setattr(service, "BOOTED", tmp_path / "booted")
    by_service = {"CREDENTIALS_DIRECTORY": "/run/credentials/relay.service"}
    assert "LoadCredential=acme:FILE" in str(secret("credential:acme", by_service).trouble)
    assert "EnvironmentFile=" in str(secret("env:ACME_KEY", by_service).trouble)
    service.BOOTED.mkdir()
    assert "LoadCredential=acme:FILE" in str(secret("credential:acme", {}).trouble)


def test_a_plain_secret_is_itself() -> None:
    assert secret("vault:s3cret").reveal() == "vault:s3cret"
    assert secret("s3cret").reference == PLAIN
    assert secret("s3cret").plain
    assert not secret("env:KEY").plain


@pytest.mark.parametrize("word", ["env", "file", "credential", "sealed"])
def test_a_word_without_a_colon_refers_to_nothing(word: str) -> None:
    """A user may be named so."""
    assert secret(word).reveal() == word
    assert secret(word).plain


def test_a_variable_that_is_the_secret_is_named() -> None:
    from_variable = Secret("s3cret", variable="RELAY_SMTP_PASSWORD")
    assert from_variable.reference == "env:RELAY_SMTP_PASSWORD"
    assert from_variable.reveal() == "s3cret"
    assert not from_variable.plain


@pytest.mark.parametrize(
    ("content", "trouble"),
    [
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"one\ntwo\n", "line break"),
        (b"s3c\0ret", "control character"),
        (b"s3cret\xff", "not text in UTF-8"),
    ],
)
def test_a_file_without_one_secret_is_named(tmp_path: Path, content: bytes, trouble: str) -> None:
    (tmp_path / "key").write_bytes(content)
    with pytest.raises(SecretError, match=trouble) as raised:
        secret(f"file:{tmp_path}/key").reveal()
    assert str(tmp_path / "key") in str(raised.value)
    assert "s3c" not in str(raised.value)
    assert raised.value.__context__ is None


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SecretError, match=f"no file {tmp_path}/key"):
        secret(f"file:{tmp_path}/key").reveal()


def test_a_closed_file_is_told_with_owner_and_group(closed_directory: Path) -> None:
    with pytest.raises(SecretError, match=r"no permission .* belongs to \S+:\S+ \(mode 0000\)"):
        secret(f"file:{closed_directory}/closed").reveal()


def test_a_closed_directory_is_not_taken_for_an_absent_credential(closed_directory: Path) -> None:
    environ = {"CREDENTIALS_DIRECTORY": str(closed_directory / "inner")}
    with pytest.raises(SecretError, match=r"no permission .* a directory above it is closed"):
        secret("credential:acme", environ).reveal()


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("", "is empty"),
        ("sealed:s3cret", "sealed: is not whole"),
        ("env:", "name of a variable"),
        ("env:MY KEY", "name of a variable"),
        ("file:secrets/acme", "a whole path"),
        ("credential:../acme", "the credential's name"),
        ("credential:", "the credential's name"),
        ("s3cret\n", "line break"),
    ],
)
def test_a_broken_reference_gets_advice(text: str, advice: str) -> None:
    with pytest.raises(ValueError, match=advice) as raised:
        secret(text)
    assert "s3cret" not in str(raised.value)


def test_no_way_of_looking_at_a_secret_shows_it(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("s3cret")
    for one in (secret("s3cret"), secret(f"file:{tmp_path}/key"), Secret("s3cret", variable="V")):
        one.reveal()
        for seen in (repr(one), str(one), f"{one}", f"{one!s:>9}", repr([one]), one.reference):
            assert "s3cret" not in seen
        assert not hasattr(one, "__dict__")


def test_equal_references_are_equal_and_copies_too() -> None:
    assert secret("env:KEY") == secret("env:KEY")
    assert secret("env:KEY") != secret("env:OTHER")
    assert secret("one") != secret("other")
    assert len({secret("env:KEY"), secret("env:KEY")}) == 1
    assert copy.copy(secret("one")) == secret("one")


def test_when_it_was_changed_is_when_its_file_was(tmp_path: Path) -> None:
    (tmp_path / "acme").write_text("s3cret")
    os.utime(tmp_path / "acme", (1_700_000_000, 1_700_000_000))
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path), "KEY": "s3cret"}
    assert secret(f"file:{tmp_path}/acme").changed_at == 1_700_000_000
    assert secret("credential:acme", environ).changed_at == 1_700_000_000
    for unknown in (f"file:{tmp_path}/none", "credential:none", "env:KEY", "s3cret"):
        assert secret(unknown, environ).changed_at is None


def test_a_sealed_secret_of_no_setting_does_not_open(tmp_path: Path) -> None:
    key_file = tmp_path / "key"
    key_file.write_text(key_file_text())
    reference = secret(KeyFile(key_file).seal("upstreams.a.password", "s3cret"))
    with pytest.raises(SecretError, match="belongs to no setting"):
        reference.reveal()
    reference.bind("upstreams.a.password", KeyFile(key_file))
    assert reference.reveal() == "s3cret"


def test_an_unset_variable_tells_of_an_environment_file_that_is_closed(
    closed_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "ENVIRONMENT_FILE", closed_directory / "closed")
    with pytest.raises(SecretError) as raised:
        secret("env:KEY", {}).reveal()
    assert "KEY is not set here, and there is no permission to read" in str(raised.value)
    assert "(mode 0000)" in str(raised.value)
    assert "s3cret" not in str(raised.value)
