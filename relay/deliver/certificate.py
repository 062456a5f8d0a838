"""What a server's certificate says of itself: for whom, by whom, until when."""

import time

from cryptography import x509

from relay.config.files import EXPIRES_SOON_S
from relay.model.value import value_class


@value_class
class Certificate:
    """What a server showed; ``expires_at`` in Unix seconds."""

    names: tuple[str, ...]
    issuer: str
    expires_at: float


def described(certificate: Certificate) -> str:
    """For whom, by whom, until when."""
    names = ", ".join(certificate.names[:3]) or "nobody"
    if len(certificate.names) > 3:
        names += f" +{len(certificate.names) - 3}"
    return f"certificate for {names}, by {certificate.issuer}, until {_day(certificate.expires_at)}"


def soon(certificate: Certificate) -> str | None:
    """The warning that it is about to expire."""
    left_s = certificate.expires_at - time.time()
    if left_s >= EXPIRES_SOON_S:
        return None
    days = int(left_s // 86400)
    return f"the server's certificate expires in {days} days: have it renewed"


def certificate_from(octets: bytes) -> Certificate | None:
    """From its DER form; None where it can't be read."""
    try:
        read = x509.load_der_x509_certificate(octets)
        return Certificate(_names(read), _issuer(read), read.not_valid_after_utc.timestamp())
    except ValueError:
        return None


def _names(certificate: x509.Certificate) -> tuple[str, ...]:
    """The names it is for; without any the subject's own, which nobody goes by any more."""
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return tuple(_common_name(certificate.subject))
    names = extension.value.get_values_for_type(x509.DNSName)
    addresses = extension.value.get_values_for_type(x509.IPAddress)
    return (*names, *map(str, addresses))


def _issuer(certificate: x509.Certificate) -> str:
    if certificate.issuer == certificate.subject:
        return "itself"
    return ", ".join(_common_name(certificate.issuer)) or str(certificate.issuer.rfc4514_string())


def _common_name(name: x509.Name) -> list[str]:
    attributes = name.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return [str(attribute.value) for attribute in attributes]


def _day(unix_s: float) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(unix_s))
