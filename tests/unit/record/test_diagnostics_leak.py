"""What goes wrong in serve is shown on a terminal too, and there without anybody's secrets."""

import io

import pytest
import structlog

from relay.record import diagnostics


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_traceback_on_a_terminal_shows_no_local_variables(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """structlog's own choice of a formatter does, where rich is installed."""
    terminal = _Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    diagnostics.configure()
    try:
        password = "s3" + "cret"  # noqa: F841 - it is what a formatter would show
        raise RuntimeError("it went wrong")
    except RuntimeError:
        structlog.get_logger("relay").exception("unexpected")
    finally:
        structlog.reset_defaults()
    assert "RuntimeError: it went wrong" in terminal.getvalue()
    assert "s3cret" not in terminal.getvalue()
