"""Which file is the configuration, and which variables go with it."""

from collections.abc import Mapping
from pathlib import Path

from relay.config import service

SYSTEM_FILE = Path("/etc/relay/config.yaml")
LOCAL_FILE = Path("config.yaml")


def find_config_file(explicit: str | None, environ: Mapping[str, str]) -> Path | None:
    """--config, $RELAY_CONFIG, /etc/relay/config.yaml, ./config.yaml; None where none is.

    One that is named, or that is there but closed to us, is the one: load() says what is amiss.
    """
    if named := explicit or environ.get("RELAY_CONFIG"):
        return Path(named)
    for path in (SYSTEM_FILE, LOCAL_FILE):
        try:
            path.stat()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError:
            return path
        return path
    return None


def environ_of_verbs(explicit: str | None, environ: Mapping[str, str]) -> Mapping[str, str]:
    """``environ``, over the service's own variables where the configuration is the service's.

    So that a verb sees what the relay sees; another file that is named has nothing to do with them.
    """
    variables = service.environment()
    together = {**variables, **environ}
    asked = find_config_file(explicit, together)
    of_service = Path(variables.get("RELAY_CONFIG", SYSTEM_FILE))
    return together if asked in (None, of_service) else environ
