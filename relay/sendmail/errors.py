"""Why nothing was sent: the one exception, and the exit statuses that programs know."""

# sysexits.h
EX_USAGE = 64
EX_DATAERR = 65
EX_NOUSER = 67
EX_NOHOST = 68
EX_UNAVAILABLE = 69
EX_TEMPFAIL = 75
EX_CONFIG = 78


class SendError(Exception):
    """Why nothing was sent, in one line, with the exit status that says so."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


def shown(octets: bytes) -> str:
    """Safe to print on one line."""
    return ascii(octets.decode("utf-8", "replace"))[:200]
