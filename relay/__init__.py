"""A local SMTP relay: takes mail on localhost, keeps it, hands it to each tenant's upstream."""

__version__ = "0.1.0"
