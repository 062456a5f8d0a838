"""The closed list of causes, each with its remedy in words, and the scopes a failure can have."""

from enum import StrEnum


class Scope(StrEnum):
    """How far a failure reaches."""

    RECIPIENT = "recipient"
    MESSAGE = "message"
    TENANT = "tenant"
    UPSTREAM = "upstream"


class Cause(StrEnum):
    """Why an attempt did not relay; what operators, alerts and metrics name."""

    CONNECTION_REFUSED = "connection_refused"
    DNS_FAILURE = "dns_failure"
    CONNECT_TIMEOUT = "connect_timeout"
    CONNECTION_LOST = "connection_lost"
    TLS_HANDSHAKE_FAILED = "tls_handshake_failed"
    STARTTLS_UNAVAILABLE = "starttls_unavailable"
    CERTIFICATE_INVALID = "certificate_invalid"
    AUTHENTICATION_FAILED = "authentication_failed"
    AUTHENTICATION_REQUIRED = "authentication_required"
    RATE_LIMITED = "rate_limited"
    QUOTA_EXCEEDED = "quota_exceeded"
    SENDER_REFUSED = "sender_refused"
    RECIPIENT_REFUSED = "recipient_refused"
    MESSAGE_REFUSED = "message_refused"
    MESSAGE_TOO_LARGE = "message_too_large"
    SMTPUTF8_UNSUPPORTED = "smtputf8_unsupported"
    NO_ROUTE = "no_route"
    UPSTREAM_UNAVAILABLE = "upstream_unavailable"
    REPLY_TIMEOUT = "reply_timeout"
    OUTCOME_UNKNOWN = "outcome_unknown"
    PROTOCOL_ERROR = "protocol_error"
    LOCAL_ERROR = "local_error"
    EXPIRED = "expired"
    SUPPRESSED = "suppressed"


REMEDIES: dict[Cause, str] = {
    Cause.CONNECTION_REFUSED: "check the upstream's host and port, and that the provider is up; "
    "port 25 is often blocked, use 465 or 587",
    Cause.DNS_FAILURE: "check the spelling of the upstream's host and this machine's DNS servers",
    Cause.CONNECT_TIMEOUT: "a firewall may block outbound SMTP: open the port, or set the "
    "upstream's port to the provider's alternative (2525, 2587)",
    Cause.CONNECTION_LOST: "nothing to do if it is rare; if not, lower the upstream's "
    "limits.connections and limits.idle, and ask the provider why it hangs up",
    Cause.TLS_HANDSHAKE_FAILED: "the upstream's tls does not fit its port: implicit on 465, "
    "starttls on 587; in doubt try 465 first",
    Cause.STARTTLS_UNAVAILABLE: "the server offers no STARTTLS on this port: set tls: implicit "
    "and port 465, or the provider's STARTTLS port",
    Cause.CERTIFICATE_INVALID: "renew the server's certificate, correct the upstream's host, or "
    "name the certificate's CA in ca_file",
    Cause.AUTHENTICATION_FAILED: "check the upstream's username and password; some providers want "
    "an app password or a literal user name (apikey, resend)",
    Cause.AUTHENTICATION_REQUIRED: "set username and password on the upstream",
    Cause.RATE_LIMITED: "mail waits and goes out by itself; lower the upstream's limits or raise "
    "the plan",
    Cause.QUOTA_EXCEEDED: "mail waits until the provider's window opens; raise the plan or lower "
    "the volume",
    Cause.SENDER_REFUSED: "verify the sender's address or domain with the provider, or set the "
    "tenant's from and rewrite_from",
    Cause.RECIPIENT_REFUSED: "correct or remove the address in the application; relay suppress add "
    "keeps it from being tried",
    Cause.MESSAGE_REFUSED: "read the provider's reply; it refuses this content: correct it in the "
    "application, or give its class another upstream",
    Cause.MESSAGE_TOO_LARGE: "send a smaller message, or raise the provider's limit; with "
    "limits.message_size set to it, the application hears of it at once",
    Cause.SMTPUTF8_UNSUPPORTED: "use an upstream that offers SMTPUTF8, or an ASCII address",
    Cause.NO_ROUTE: "the configuration has no way for this sender: name an upstream for its "
    "tenant, or a default",
    Cause.UPSTREAM_UNAVAILABLE: "the provider has a fault; mail waits and goes out by itself; "
    "where that takes too long, set the tenant's failover",
    Cause.REPLY_TIMEOUT: "the provider is slow; raise timeouts.reply if that is usual",
    Cause.OUTCOME_UNKNOWN: "the provider did not say whether it took the message; it is tried "
    "again and may arrive twice; raise timeouts.data_reply if the provider is slow",
    Cause.PROTOCOL_ERROR: "the server does not speak SMTP as it should: check host and port",
    Cause.LOCAL_ERROR: "a fault of this machine or of the relay itself, not of the message, which "
    "waits and is tried again; read the diagnostics on standard error",
    Cause.EXPIRED: "it waited longer than retry.give_up_after, or its class's; mend the last "
    "cause, then relay dead retry",
    Cause.SUPPRESSED: "the address is on the suppression list; relay suppress remove, if it is "
    "good again",
}

# What a 5yz may end a recipient's waiting for: the recipient or the message itself is refused. All
# else waits until somebody mends it.
FINAL_CAUSES = frozenset(
    {
        Cause.RECIPIENT_REFUSED,
        Cause.MESSAGE_REFUSED,
        Cause.MESSAGE_TOO_LARGE,
        Cause.SMTPUTF8_UNSUPPORTED,
    }
)
FINAL_SCOPES = frozenset({Scope.RECIPIENT, Scope.MESSAGE})
