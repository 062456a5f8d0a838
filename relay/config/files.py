"""Files that the configuration names: why one can't be read, told with owner and group.

TLS files are loaded once to see whether they can be used; nothing of them is kept.
"""

import grp
import os
import pwd
import stat
from pathlib import Path

# A certificate is spoken of so long before its end: time enough to have it renewed.
EXPIRES_SOON_S = 21 * 86400.0


def why_unreadable(path: Path, error: OSError) -> str:
    """What to tell a person who could not read ``path``."""
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return f"no file {path}"
    if isinstance(error, IsADirectoryError):
        return f"{path} is a directory"
    if isinstance(error, PermissionError):
        return f"no permission to read {path}{_belonging(path)}"
    return f"can't read {path}: {os.strerror(error.errno or 0)}"


def trouble_reading(path: Path) -> str | None:
    """Why ``path`` can't be read; None if it can."""
    try:
        with path.open("rb") as file:
            file.read(1)
    except OSError as error:
        return why_unreadable(path, error)
    return None


def trouble_with_certificate(cert_file: Path, key_file: Path) -> str | None:
    """Why a listener can't present this certificate; both files are readable."""
    import ssl  # only a listener or an upstream with files of its own needs it here

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        # Without a password OpenSSL would ask for one on the terminal.
        context.load_cert_chain(cert_file, key_file, password="")
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            return f"the key in {key_file} is not that of the certificate in {cert_file}"
        return f"{cert_file} and {key_file} are not a PEM certificate and its unencrypted key"
    return None


def trouble_with_ca(ca_file: Path) -> str | None:
    """Why no upstream can be verified by this file, which is readable."""
    import ssl

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(ca_file)
    except ssl.SSLError:
        return f"{ca_file} has no PEM certificate in it"
    return None


def ends_of_certificates(path: Path) -> list[float]:
    """Until when each certificate in a PEM file holds, in Unix seconds; of one that can't be used
    nothing, which is told of elsewhere."""
    from cryptography import x509  # takes as long to import as many a verb to run

    try:
        found = x509.load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError):
        return []
    return [certificate.not_valid_after_utc.timestamp() for certificate in found]


def too_open(path: Path) -> str | None:
    """Who may read or change a secret file that 0640 would keep out; None if nobody."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return None
    if mode & ~0o640 & 0o777:
        return f"{path} has mode {mode:04o}: chmod 0640 it, or 0600"
    return None


def _belonging(path: Path) -> str:
    """ "; it belongs to root:relay (mode 0640): ...", as far as this process may know."""
    try:
        status = path.stat()
    except OSError:
        return f": a directory above it is closed to {_own_name()}"
    try:
        owner, group = pwd.getpwuid(status.st_uid)[0], grp.getgrgid(status.st_gid)[0]
    except KeyError:
        owner, group = str(status.st_uid), str(status.st_gid)
    mode = stat.S_IMODE(status.st_mode)
    return (
        f", which belongs to {owner}:{group} (mode {mode:04o}): be {owner}, or be in the "
        f"group {group} and make it 0640"
    )


def _own_name() -> str:
    try:
        return pwd.getpwuid(os.geteuid())[0]
    except KeyError:
        return f"user {os.geteuid()}"
