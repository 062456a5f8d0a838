"""The container image, built from the real Dockerfile by buildah and run without privileges: root
file system read-only, no capability, no new privileges, a volume for the store.
"""

import os
import re
import shutil
import smtplib
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
import yaml
from support.certificates import Certificates
from support.debian import PROJECT
from support.image import Container, Images, network_of_its_own
from support.need import need, need_root
from support.upstream import ThreadedUpstream

# The first test makes Debian in a folder, unless it is there from a former run.
pytestmark = pytest.mark.timeout(600)

# Where the relay is, and an application, as on a network of Docker's.
ADDRESS = "172.28.25.2"
SUBNET = "172.28.25.0/24"
PASSWORD = "the platform's password"
CA_FILE = "/run/ca.pem"

# More than this on top of Python is not small: a limit to be thought about when it is met.
MOST_ADDED_BYTES = 95_000_000

CONFIGURATION = """\
hostname: relay.internal
listen: [127.0.0.1:2526, 0.0.0.0:25]
clients: {networks: [{network: 172.28.25.0/24, tenants: [acme]}]}
upstreams:
  acme-mail:
    {host: localhost, port: PORT, tls: implicit, username: relay, password: "credential:acme-mail"}
tenants: {acme: {domains: [acme.example], upstream: acme-mail}}
retry: {first: 1s, longest: 2s}
"""


@pytest.fixture(scope="module", autouse=True)
def network() -> Iterator[None]:
    need_root()
    with network_of_its_own(f"{ADDRESS}/24"):
        yield


@pytest.fixture(scope="module")
def images(network: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Images]:
    folder = tmp_path_factory.mktemp("images")
    with Images(folder) as images:
        yield images
    shutil.rmtree(folder, ignore_errors=True)  # pytest would keep three


@pytest.fixture
def upstream(network: None, certificates: Certificates) -> Iterator[ThreadedUpstream]:
    context = certificates.good()
    with ThreadedUpstream(context, tls="implicit", users={"relay": PASSWORD}) as server:
        yield server


Makes = Callable[..., Container]


@pytest.fixture
def container(images: Images, tmp_path: Path, certificates: Certificates) -> Makes:
    """``container(environment, mounts)``: all of a test have one volume."""
    ca = {"SSL_CERT_FILE": CA_FILE}

    def make(environment: Mapping[str, str], mounts: Mapping[str, Path] | None = None) -> Container:
        mounted = {CA_FILE: certificates.ca_file, **(mounts or {})}
        return Container(images, tmp_path / "volume", ca | dict(environment), mounted)

    return make


@pytest.fixture(scope="module")
def bare(images: Images, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    """Without any configuration."""
    with Container(images, tmp_path_factory.mktemp("bare") / "volume", {}) as bare:
        yield bare


def in_the_environment(upstream: ThreadedUpstream) -> dict[str, str]:
    return {
        "RELAY_SMTP_HOST": upstream.host,
        "RELAY_SMTP_PORT": str(upstream.port),
        "RELAY_SMTP_TLS": upstream.tls,
        "RELAY_SMTP_USERNAME": "relay",
        "RELAY_SMTP_PASSWORD": PASSWORD,
        "RELAY_SMTP_FROM_EMAIL": "noreply@platform.example",
        "RELAY_SMTP_FROM_NAME": "Platform",
        "RELAY_CLIENTS__NETWORKS": f"[{SUBNET}]",
        "RELAY_RETRY": "{first: 1s, longest: 2s}",
    }


def send(subject: str, host: str = ADDRESS, source: str = ADDRESS) -> None:
    with smtplib.SMTP(host, 25, timeout=30, source_address=(source, 0)) as client:
        client.sendmail(
            "shop@acme.example", ["joe@recipient.example"], f"Subject: {subject}\r\n\r\nhello\r\n"
        )


def subjects(upstream: ThreadedUpstream, count: int) -> list[str]:
    headers = [one.header.decode() for one in upstream.wait_for(count, 50)]
    return [header.partition("Subject: ")[2].partition("\r\n")[0] for header in headers]


def secret(folder: Path) -> Path:
    """As an administrator makes it: for the image's user, and nobody else."""
    file = folder / "secret"
    file.write_text(f"{PASSWORD}\n")
    file.chmod(0o400)
    os.chown(file, 10025, 10025)
    return file


# -- what is in it


def test_what_it_says_of_how_it_is_run(images: Images) -> None:
    config = images.config
    assert config["User"] == "10025:10025"
    assert (config["Entrypoint"], config["Cmd"]) == (["relay"], ["serve"])
    assert config["StopSignal"] == "SIGTERM"
    assert list(config["Volumes"]) == ["/var/lib/relay"]
    assert list(config["ExposedPorts"]) == ["25/tcp"]
    assert config["Healthcheck"]["Test"] == ["CMD", "relay", "health"]
    assert config["Labels"]["org.opencontainers.image.title"] == "relay"


def test_it_is_small_and_has_nothing_to_build_with(images: Images, bare: Container) -> None:
    assert images.added_bytes < MOST_ADDED_BYTES
    told = bare.run_as_it_is(
        "sh", "-c",
        "id; ls /build /src; command -v pip pip3 gcc cc; /opt/relay/bin/python -m pip --version; "
        "true",
    )  # fmt: skip
    assert "uid=10025(relay) gid=10025(relay) groups=10025(relay)" in told
    assert "No module named pip" in told
    for absent in ("/build", "/src"):
        assert f"cannot access '{absent}'" in told
    for program in ("pip", "gcc", "cc"):
        assert f"bin/{program}" not in told


def test_nobody_but_root_can_change_the_program(bare: Container) -> None:
    own = bare.run_as_it_is("sh", "-c", "find / -xdev -user 10025 2> /dev/null; true")
    written = bare.run("sh", "-c", "touch /x /tmp/x /opt/relay/x; touch /var/lib/relay/x")
    assert [path for path in own.splitlines() if not path.startswith("/proc")] == ["/var/lib/relay"]
    assert written.stderr.count("Read-only file system") == 3
    assert written.returncode == 0


# -- how it runs


def test_by_variables_alone(container: Makes, upstream: ThreadedUpstream) -> None:
    with container(in_the_environment(upstream)) as relay:
        relay.start()
        health = relay.health()
        assert (health.returncode, health.stdout) == (0, "ready\n"), health.stderr
        send("by variables alone")
        assert subjects(upstream, 1) == ["by variables alone"]
        [transaction] = upstream.transactions
        assert (transaction.user, transaction.tls_version) == ("relay", "TLSv1.3")
        assert transaction.reverse_path == "noreply@platform.example"
        relay.wait_for("email.sent")
        assert "sent (24 h)    1" in relay.run("relay", "status").stdout
        assert relay.stop() == 0
        unwell = relay.health()
        assert unwell.returncode == 1
        assert "no relay answers" in unwell.stderr


def test_who_is_not_named_is_refused(container: Makes, upstream: ThreadedUpstream) -> None:
    """Not a hole: the image listens to the network, and admits nobody from there by itself."""
    unnamed = in_the_environment(upstream)
    del unnamed["RELAY_CLIENTS__NETWORKS"]
    with container(unnamed) as relay:
        relay.start()
        with pytest.raises(smtplib.SMTPConnectError, match=r"554.*may not send here"):
            send("refused")
        assert relay.health().returncode == 0
        checked = relay.run("relay", "check")
        assert "0.0.0.0:25 answers the network, and admits nobody" in checked.stdout
        send("from within", "127.0.0.1", "127.0.0.1")
        assert subjects(upstream, 1) == ["from within"]
        relay.stop()


def test_by_a_file_and_a_secret(
    container: Makes, upstream: ThreadedUpstream, tmp_path: Path
) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(CONFIGURATION.replace("PORT", str(upstream.port)))
    mounts = {"/etc/relay/config.yaml": file, "/run/secrets/acme-mail": secret(tmp_path)}
    with container({}, mounts) as relay:
        relay.start()
        [started] = relay.events("relay.started")
        assert started["listeners"] == ["127.0.0.1:2526", "0.0.0.0:25"]
        send("by a file")
        assert subjects(upstream, 1) == ["by a file"]
        assert upstream.transactions[0].user == "relay"
        assert relay.health().returncode == 0
        file.write_text(file.read_text().replace("acme.example", "acme.example, acme.test"))
        reloaded = relay.run("relay", "reload")
        assert reloaded.returncode == 0, reloaded.stderr
        relay.stop()


def test_what_is_queued_survives_the_container(
    container: Makes, upstream: ThreadedUpstream
) -> None:
    upstream.down()
    with container(in_the_environment(upstream)) as first:
        first.start()
        send("queued")
        # A paused upstream is no illness of the container's.
        assert first.health().returncode == 0
        assert first.stop() == 0
    upstream.up()
    with container(in_the_environment(upstream)) as second:
        second.start()
        assert subjects(upstream, 1) == ["queued"]
        second.wait_for("email.sent")
        [accepted] = second.events("email.accepted")
        assert second.events("email.sent")[0]["queue_id"] == accepted["queue_id"]
        second.stop()


def test_without_a_configuration_it_says_what_it_wants(bare: Container) -> None:
    done = bare.run("relay", "serve")
    assert done.returncode == 78
    assert "RELAY_SMTP_HOST" in done.stderr


# -- with compose


@pytest.fixture(scope="module")
def composed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """compose.yaml as compose understands it, with the variables that it asks for."""
    compose = need("docker-compose")
    folder = tmp_path_factory.mktemp("composed")
    (folder / "secrets").mkdir()
    (folder / "secrets/smtp").write_text(PASSWORD)
    done = subprocess.run(
        [compose, f"--file={PROJECT}/compose.yaml", f"--project-directory={folder}", "config"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "RELAY_SMTP_HOST": "localhost", "RELAY_SMTP_USERNAME": "relay"},
    )
    assert done.returncode == 0, done.stderr
    understood: dict[str, object] = yaml.safe_load(done.stdout)
    return understood


def test_compose_runs_it_without_privileges(composed, images: Images) -> None:
    relay = composed["services"]["relay"]
    assert relay["read_only"] is True
    assert relay["cap_drop"] == ["ALL"]
    assert relay["security_opt"] == ["no-new-privileges:true"]
    assert "ports" not in relay
    [volume] = relay["volumes"]
    assert volume.split(":")[1] in images.config["Volumes"]
    assert composed["networks"]["mail"]["internal"] is True


def test_the_application_of_compose_sends(
    composed, container: Makes, upstream: ThreadedUpstream, tmp_path: Path
) -> None:
    """Both services, each with the variables that compose gives it."""
    relay_s, application_s = (
        {name: str(value) for name, value in service["environment"].items() if value is not None}
        for service in (composed["services"]["relay"], composed["services"]["application"])
    )
    assert relay_s["RELAY_SMTP_PASSWORD"] == "credential:smtp"
    relay_s |= {"RELAY_SMTP_PORT": str(upstream.port), "RELAY_SMTP_TLS": upstream.tls}
    program = composed["services"]["application"]["volumes"][0].split(":")[0]
    with container(relay_s, {"/run/secrets/smtp": secret(tmp_path)}) as relay:
        relay.start()
        subprocess.run(
            [sys.executable, PROJECT / "docs/container" / Path(program).name],
            env=application_s | {"SMTP_HOST": ADDRESS},
            check=True,
            timeout=60,
        )
        assert subjects(upstream, 1) == ["From a container"]
        relay.stop()


# -- what is written of it


def test_every_step_is_explained() -> None:
    page = (PROJECT / "docs/install.md").read_text()
    explained = page.partition("### The Dockerfile, step by step")[2].partition("\n## ")[0]
    dockerfile = (PROJECT / "Dockerfile").read_text().replace("\\\n", " ")
    steps = [line.split() for line in dockerfile.splitlines() if line[:1].isalpha()]
    for word, *rest in steps:
        assert f"`{word} " in explained or f"`{word}`" in explained, word
        for name in re.findall(r"\b[A-Z_]+(?==)", " ".join(rest)) if word == "ENV" else ():
            assert name in explained
    assert {word for word, *_ in steps} >= {"HEALTHCHECK", "USER", "VOLUME", "STOPSIGNAL"}
    assert re.findall(r"\d{4,}:\d{4,}", explained) == ["10025:10025"] * 2
