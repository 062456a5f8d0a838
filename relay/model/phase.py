"""Where in the dialogue with an upstream something happened."""

from enum import StrEnum


class Phase(StrEnum):
    CONNECT = "connect"
    BANNER = "banner"
    EHLO = "ehlo"
    TLS = "tls"
    AUTH = "auth"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    CONTENT = "content"
    AFTER_DOT = "after the dot"
