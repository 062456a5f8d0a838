"""Why nothing was sent: the one exception, and the exit statuses that programs know."""

# sysexits.h. Not EX_TEMPFAIL (75) where a message can't be had now: to those who know it that means
# "queued, will be sent later" (PHP from 8.5 on takes it for success), and nothing is queued here.
EX_USAGE = 64
EX_DATAERR = 65
EX_NOUSER = 67
EX_NOHOST = 68
EX_UNAVAILABLE = 69
EX_IOERR = 74
EX_CONFIG = 78


class SendError(Exception):
    """Why nothing was sent, in one line, with the exit status that says so."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


def shown(octets: bytes) -> str:
    """Safe to print on one line."""
    return ascii(octets.decode("utf-8", "replace"))[:200]
