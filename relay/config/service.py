"""What the service manager gives the relay, and where the verbs find it: credentials, environment.

Fixed places, so that a verb needs to ask nobody and works in a container too.
"""

import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path

# The EnvironmentFile= of relay.service.
ENVIRONMENT_FILE = Path("/etc/relay/environment")
_CREDENTIALS_VARIABLE = "CREDENTIALS_DIRECTORY"
# Where systemd, and then Docker and its like, put a service's credentials.
_SERVICE_CREDENTIALS = Path("/run/credentials/relay.service")
CONTAINER_SECRETS = Path("/run/secrets")
# There where systemd is what has booted: sd_booted(3).
BOOTED = Path("/run/systemd/system")
# Set by the container image (Dockerfile).
_IMAGE_VARIABLE = "RELAY_IMAGE_LISTEN"


def environment() -> Mapping[str, str]:
    """The variables of the service's EnvironmentFile; none where it can't be read."""
    try:
        text = ENVIRONMENT_FILE.read_bytes().decode(errors="surrogateescape")
    except OSError:
        return {}
    return dict(_variables(text))


def credential_files(name: str, environ: Mapping[str, str]) -> list[Path]:
    """Where the credential of that name may be: the first that is there holds."""
    directories = (environ.get(_CREDENTIALS_VARIABLE), _SERVICE_CREDENTIALS, CONTAINER_SECRETS)
    return [Path(directory, name) for directory in directories if directory]


def in_container(environ: Mapping[str, str]) -> bool:
    """Whether there is no relay.service, but an engine that makes a container anew."""
    if environ.get(_CREDENTIALS_VARIABLE):
        return False
    # On a machine of systemd's, others than container engines use the folder.
    return _IMAGE_VARIABLE in environ or (CONTAINER_SECRETS.is_dir() and not BOOTED.is_dir())


def _variables(text: str) -> Iterator[tuple[str, str]]:
    """As systemd.exec(5) reads them, but for what it would ignore with a warning."""
    for line in text.replace("\\\n", "").splitlines():
        name, equals, value = line.strip().partition("=")
        if equals and name[:1] not in ("#", ";") and (unquoted := _unquoted(value)) is not None:
            yield name.strip(), unquoted


def _unquoted(value: str) -> str | None:
    """Without its quotes; blanks within and "#" are its own. None where a quote is left open."""
    lexer = shlex.shlex(value.strip(), posix=True)
    lexer.whitespace, lexer.commenters, lexer.whitespace_split = "", "", True
    try:
        return lexer.get_token() or ""
    except ValueError:
        return None
