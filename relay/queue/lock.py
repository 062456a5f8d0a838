"""The lock that only one serving process can hold; the verbs ask it whether one is running.

flock(2) rather than the file's existence: the kernel lets go of it when the process dies.
"""

import fcntl
import os
import time
from pathlib import Path
from types import TracebackType

# A verb that asks holds the lock for some microseconds; a relay that starts just then tries again.
_TRIES = 20
_PAUSE_S = 0.01


class AlreadyServing(Exception):
    """``pid`` is 0 where the lock's holder has not written it yet."""

    def __init__(self, path: Path, pid: int) -> None:
        super().__init__(f"{path} is already served by process {pid or 'unknown'}")
        self.pid = pid


def lock_path(store: Path) -> Path:
    return store.with_name(store.name + ".lock")


class ServeLock:
    """``with ServeLock(store):`` around a life of the relay. The file stays behind: to remove it
    could let two processes hold locks on two files of the same name."""

    def __init__(self, store: Path) -> None:
        self._path = lock_path(store)
        self._store = store
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Raises AlreadyServing, or OSError where the directory is missing or closed to us."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o660)
        try:
            if not _locked(descriptor, fcntl.LOCK_EX):
                raise AlreadyServing(self._store, _pid_in(descriptor))
            if os.fstat(descriptor).st_uid == os.geteuid():
                os.fchmod(descriptor, 0o660)
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor

    def release(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> "ServeLock":
        self.acquire()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()


def is_served(store: Path) -> int | None:
    """The process that serves the store, None if there is none. Raises PermissionError."""
    try:
        descriptor = os.open(lock_path(store), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        # Shared, so that two verbs which ask at the same time don't take each other for a relay.
        if _taken(descriptor, fcntl.LOCK_SH):
            return None
        return _pid_in(descriptor)
    finally:
        os.close(descriptor)


def _locked(descriptor: int, kind: int) -> bool:
    for _ in range(_TRIES):
        if _taken(descriptor, kind):
            return True
        time.sleep(_PAUSE_S)
    return False


def _taken(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _pid_in(descriptor: int) -> int:
    text = os.pread(descriptor, 32, 0).strip()
    return int(text) if text.isdigit() else 0
