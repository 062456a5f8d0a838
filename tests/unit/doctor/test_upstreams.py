"""An upstream's own findings: the certificate's days, and where the secrets are."""

import pytest

from relay.doctor.upstreams import certificate_finding, plaintext_finding, secrets_finding

NOW = 1_800_000_000.0  # 2027-01-15
DAY_S = 86400.0


@pytest.mark.parametrize(
    ("days", "verdict", "text"),
    [
        (90, "green", "holds until 2027-04-15"),
        (3, "green", "for 3 days only"),
        (0, "red", "expired on 2027-01-15"),
        (-7, "red", "expired on 2027-01-08"),
    ],
)
def test_a_certificates_days(days: int, verdict: str, text: str) -> None:
    found = certificate_finding("up", NOW + days * DAY_S, NOW)
    assert (found.verdict, found.upstream, found.domain) == (verdict, "up", None)
    assert text in found.text
    assert ("only" in found.text) == (0 < days < 21)


def test_where_the_secrets_are() -> None:
    assert secrets_finding("up", ["env:KEY"], []).text == "readable: env:KEY"
    assert secrets_finding("up", [], []).verdict == "green"
    assert secrets_finding("up", ["env:KEY"], ["env:KEY is not set"]).verdict == "red"
    assert plaintext_finding("up").verdict == "green"
