"""Sealed secrets: they open with their key, at their setting, and nowhere else."""

import base64
from collections.abc import Callable
from pathlib import Path

import pytest

from relay.config.advice import warnings
from relay.config.schema import Config, Secret, SecretError
from relay.config.sealing import KeyFile, Sealed, SealError, key_file_text

SETTING = "upstreams.acme.password"


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "secret.key"
    path.write_text(key_file_text())
    path.chmod(0o640)
    return path


def test_what_is_sealed_opens(key_file: Path) -> None:
    text = KeyFile(key_file).seal(SETTING, "s3cret, ünïcode")
    assert KeyFile(key_file).open(SETTING, text) == "s3cret, ünïcode"
    assert text.startswith("sealed:")
    assert text.isascii()
    assert "=" not in text


def test_no_two_seals_are_alike(key_file: Path) -> None:
    keys = KeyFile(key_file)
    assert len({keys.seal(SETTING, "s3cret") for _ in range(10)}) == 10


def test_it_is_bound_to_its_setting(key_file: Path) -> None:
    keys = KeyFile(key_file)
    text = keys.seal(SETTING, "s3cret")
    with pytest.raises(SealError, match=r"for another setting .* seal upstreams\.other\.password"):
        keys.open("upstreams.other.password", text)


def test_an_altered_text_does_not_open(key_file: Path) -> None:
    keys = KeyFile(key_file)
    sealed = Sealed.read(keys.seal(SETTING, "s3cret"))
    turned = bytes([sealed.ciphertext[0] ^ 1]) + sealed.ciphertext[1:]
    for altered in (
        Sealed(sealed.key_id, sealed.nonce, turned),
        Sealed(sealed.key_id, sealed.nonce, sealed.ciphertext[:-1]),
        Sealed(sealed.key_id, bytes(12), sealed.ciphertext),
    ):
        with pytest.raises(SealError, match="or is not as it was printed"):
            keys.open(SETTING, str(altered))


def test_keys_change_in_turn(key_file: Path) -> None:
    """The first seals, all open; without the old one it is told which is missing."""
    old_line, new = key_file.read_text(), key_file_text()
    text = KeyFile(key_file).seal(SETTING, "s3cret")
    key_file.write_text(new + old_line)
    both = KeyFile(key_file)
    assert both.open(SETTING, text) == "s3cret"
    assert not both.seals_with(text)
    again = both.seal(SETTING, "s3cret")
    assert both.seals_with(again)
    key_file.write_text(new)
    assert KeyFile(key_file).open(SETTING, again) == "s3cret"
    needed, known = (Sealed.read(one).key_id.hex() for one in (text, again))
    with pytest.raises(SealError, match=f"needs the key {needed}, but {key_file} has {known}"):
        KeyFile(key_file).open(SETTING, text)


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("sealed:", "is not whole"),
        ("sealed:s3cret", "is not whole"),
        ("sealed:no base64!", "is not whole"),
        ("sealed:" + base64.urlsafe_b64encode(b"\2" + bytes(60)).decode(), "another version"),
    ],
)
def test_a_text_of_another_kind_is_told(text: str, advice: str) -> None:
    with pytest.raises(ValueError, match=advice) as raised:
        Sealed.read(text)
    assert "s3cret" not in str(raised.value)


def test_a_text_that_lost_its_end_is_told(key_file: Path) -> None:
    text = KeyFile(key_file).seal(SETTING, "s3cret")
    with pytest.raises(ValueError, match="paste all that relay secret seal printed"):
        Sealed.read(text[:40])


@pytest.mark.parametrize(
    ("content", "trouble"),
    [
        ("", "there is no key in"),
        ("# nothing\n\n", "there is no key in"),
        ("# one\ns3cret\n", ":2: this line is no key of relay secret keygen"),
        ("s3cret s3cret\n", ":1: this line is no key"),
    ],
)
def test_a_key_file_without_a_key_is_told(key_file: Path, content: str, trouble: str) -> None:
    key_file.write_text(content)
    with pytest.raises(SealError, match=trouble) as raised:
        KeyFile(key_file).check()
    assert str(key_file) in str(raised.value)
    assert "s3cret" not in str(raised.value)


def test_an_absent_key_file_says_how_one_is_made(tmp_path: Path) -> None:
    with pytest.raises(SealError, match=f"no key file {tmp_path}/none: .*relay secret keygen"):
        KeyFile(tmp_path / "none").check()


def test_a_closed_key_file_is_told_with_mode_and_group(closed_directory: Path) -> None:
    with pytest.raises(SealError, match=r"no permission .* belongs to \S+:\S+ \(mode 0000\)"):
        KeyFile(closed_directory / "closed").check()


def test_keys_show_nothing_of_themselves(key_file: Path) -> None:
    keys = KeyFile(key_file)
    keys.check()
    line = key_file.read_text().splitlines()[1]
    octets = base64.urlsafe_b64decode(line + "=")
    for seen in (repr(keys), repr(keys._keys), repr(keys._keys[0].id)):
        assert line not in seen
        assert repr(octets) not in seen


CONFIG = """\
hostname: relay.example
secrets: {{key_file: {key_file}}}
listen: [{{address: 127.0.0.1:25, auth: optional}}]
clients: {{users: {{crm: {{password_hash: '{hash}'}}}}}}
upstreams: {{acme.eu: {{host: mx.example, username: '{user}', password: '{password}'}}}}
default: {{upstream: acme.eu}}
alerts: {{webhook: '{webhook}'}}
"""
SECRETS = {
    "hash": ("clients.users.crm.password_hash", "$argon2id$v=19$x"),
    "user": ("upstreams.acme.eu.username", "u"),
    "password": ("upstreams.acme.eu.password", "s3cret"),
    "webhook": ("alerts.webhook", "https://hooks.example/s3cret"),
}


def sealed_config(key_file: Path) -> str:
    keys = KeyFile(key_file)
    texts = {name: keys.seal(setting, secret) for name, (setting, secret) in SECRETS.items()}
    return CONFIG.format(key_file=key_file, **texts)


def test_every_secret_of_a_configuration_can_be_sealed(
    loads: Callable[..., Config], key_file: Path
) -> None:
    config = loads(sealed_config(key_file))
    upstream = config.upstreams["acme.eu"]
    found = {
        "hash": config.clients.users["crm"].password_hash,
        "user": upstream.username,
        "password": upstream.password,
        "webhook": config.alerts.webhook,
    }
    for name, secret in found.items():
        assert secret is not None
        assert secret.reveal() == SECRETS[name][1]
        assert secret.reference.startswith("sealed:(key ")
    assert warnings(config) == []


def test_a_seal_in_the_wrong_place_is_told_by_check(
    loads: Callable[..., Config], key_file: Path
) -> None:
    text = KeyFile(key_file).seal("upstreams.other.password", "s3cret")
    sound = sealed_config(key_file)
    start = sound.index("password: 'sealed:") + len("password: '")
    config = loads(sound[:start] + text + sound[sound.index("'", start) :])
    (warning,) = warnings(config)
    assert warning.key == "upstreams.acme.eu.password"
    assert "it was sealed for another setting than this" in warning.message
    with pytest.raises(SecretError, match="another setting"):
        upstream_password(config).reveal()


def upstream_password(config: Config) -> Secret:
    password = next(iter(config.upstreams.values())).password
    assert password is not None
    return password


def test_a_token_that_is_user_name_and_password_is_sealed_once(
    loads: Callable[..., Config], key_file: Path
) -> None:
    text = KeyFile(key_file).seal("upstreams.acme.password", "s3cret")
    config = loads(
        f"secrets: {{key_file: {key_file}}}\n"
        f"upstreams: {{acme: {{provider: postmark, password: '{text}'}}}}\n"
        "default: {upstream: acme}\n"
    )
    username = config.upstreams["acme"].username
    assert username is not None
    assert username.reveal() == upstream_password(config).reveal() == "s3cret"


def test_a_variable_can_be_sealed_too(loads: Callable[..., Config], key_file: Path) -> None:
    text = KeyFile(key_file).seal("upstreams.acme.password", "s3cret")
    config = loads(
        "upstreams: {acme: {host: mx.example, username: u}}\ndefault: {upstream: acme}\n",
        {"RELAY_SMTP_PASSWORD": text, "RELAY_SECRETS__KEY_FILE": str(key_file)},
    )
    assert upstream_password(config).reveal() == "s3cret"


def test_check_names_what_an_old_key_has_sealed(
    loads: Callable[..., Config], key_file: Path
) -> None:
    text = sealed_config(key_file)
    key_file.write_text(key_file_text() + key_file.read_text())
    found = warnings(loads(text))
    assert {warning.key for warning in found} == {setting for setting, _ in SECRETS.values()}
    assert all("relay secret seal " + warning.key in warning.message for warning in found)


def test_check_warns_of_a_key_file_that_others_can_read(
    loads: Callable[..., Config], key_file: Path
) -> None:
    key_file.chmod(0o644)
    (warning,) = warnings(loads(sealed_config(key_file)))
    assert (warning.key, warning.message) == (
        "secrets.key_file",
        f"{key_file} has mode 0644: chmod 0640 it, or 0600",
    )


def test_a_new_secret_comes_with_the_next_load(
    loads: Callable[..., Config], key_file: Path
) -> None:
    """sealed: rotates at reload; a live value keeps what it has read."""
    text = sealed_config(key_file)
    live = upstream_password(loads(text))
    assert live.reveal() == "s3cret"
    key_file.unlink()
    assert live.reveal() == "s3cret"
    with pytest.raises(SecretError, match="no key file"):
        upstream_password(loads(text)).reveal()
