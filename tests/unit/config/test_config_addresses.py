import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from relay.config import addresses
from relay.config.addresses import ListenAddress, Mailbox

NAMES = st.text(st.characters(exclude_categories=["C", "Z"]) | st.just(" "), max_size=40)
LOCAL_PARTS = st.from_regex(r"[a-z0-9!#$%&'*+/=?^_`{|}~-]{1,10}(\.[a-z0-9]{1,5})?", fullmatch=True)
DOMAINS = st.from_regex(r"[a-z0-9]{1,10}(\.[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?){0,3}", fullmatch=True)


@given(NAMES.map(str.strip), LOCAL_PARTS, DOMAINS)
@example('back\\slash, "quoted"', "a", "b.example")
def test_a_mailbox_reads_back_as_it_was_written(name: str, local_part: str, domain: str) -> None:
    written = Mailbox(name, f"{local_part}@{domain}")
    assert addresses.mailbox(str(written)) == written


@given(st.text())
def test_what_is_read_as_a_mailbox_can_stand_in_a_header(text: str) -> None:
    try:
        mailbox = addresses.mailbox(text)
    except ValueError:
        return
    assert not set(str(mailbox)) & set("\r\n\0")
    assert mailbox.address.rpartition("@")[2].isascii()


@pytest.mark.parametrize(
    ("text", "mailbox"),
    [
        ("a@b.example", Mailbox("", "a@b.example")),
        ("Acme <noreply@acme.example>", Mailbox("Acme", "noreply@acme.example")),
        ("<a@b.example>", Mailbox("", "a@b.example")),
        ('"Acme, Inc." <a@b.example>', Mailbox("Acme, Inc.", "a@b.example")),
        ("Acme, Inc. <a@b.example>", Mailbox("Acme, Inc.", "a@b.example")),
        (r'"say \"hi\"" <a@b.example>', Mailbox('say "hi"', "a@b.example")),
        ("Zoë <zoe@Bücher.Example>", Mailbox("Zoë", "zoe@xn--bcher-kva.example")),
    ],
)
def test_mailboxes(text: str, mailbox: Mailbox) -> None:
    assert addresses.mailbox(text) == mailbox


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Acme",
        "Acme <acme.example>",
        "a@b.example, c@d.example",
        "Dana <a@b.example>, Bob <c@d.example>",
        "Acme <a@b.example> x",
        "Acme\r\nBcc: x@y.example <a@b.example>",
        "a b@c.example",
        "a@b..example",
        "a@[10.0.0.1]",
        "@b.example",
        "x" * 65 + "@b.example",
        "a@" + "b" * 64,
    ],
)
def test_what_is_not_one_mailbox_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        addresses.mailbox(text)


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        ("ACME.example", "acme.example"),
        ("acme.example.", "acme.example"),
        ("*.Bücher.example", "*.xn--bcher-kva.example"),
        ("web01", "web01"),
        ("my_host.example", "my_host.example"),
    ],
)
def test_domains_are_lower_case_a_labels(text: str, pattern: str) -> None:
    assert addresses.domain_pattern(text) == pattern


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("@acme.example", 'write "acme.example"'),
        (".acme.example", r"\*\.acme\.example"),
        ("billing@acme.example", "under senders"),
        ("*", "takes the default"),
        ("x.*.example", "only in front"),
        ("acme example", "not a domain"),
        ("straße.example", "xn--"),
        ("-acme.example", "not a domain"),
    ],
)
def test_domains_gone_wrong_get_advice(text: str, advice: str) -> None:
    with pytest.raises(ValueError, match=advice):
        addresses.domain_pattern(text)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:25", ListenAddress("127.0.0.1", 25)),
        ("[::1]:25", ListenAddress("::1", 25)),
        ("[0:0::1]:0", ListenAddress("::1", 0)),
    ],
)
def test_listen_addresses(text: str, address: ListenAddress) -> None:
    assert addresses.listen_address(text) == address
    assert addresses.listen_address(str(address)) == address


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("127.0.0.1", "no port"),
        ("25", "no port"),
        ("127.0.0.1:smtp", "no port"),
        ("127.0.0.1:65536", "no port"),
        ("localhost:25", r"write 127\.0\.0\.1:25"),
        (":25", r"write 0\.0\.0\.0:25"),
        ("*:25", r"write 0\.0\.0\.0:25"),
        ("::1:25", r'write "\[::1\]:25"'),
        ("web01:25", "not an IP address"),
    ],
)
def test_listen_addresses_gone_wrong_get_advice(text: str, advice: str) -> None:
    with pytest.raises(ValueError, match=advice):
        addresses.listen_address(text)


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("SMTP.acme.example", "smtp.acme.example"),
        ("10.0.0.1", "10.0.0.1"),
        ("[fd00::1]", "fd00::1"),
        ("fd00::0:1", "fd00::1"),
    ],
)
def test_hosts(text: str, host: str) -> None:
    assert addresses.host(text) == host


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("mail.example:587", '"mail.example", and beside it "port: 587"'),
        ("smtps://mail.example", 'alone, like "mail.example"'),
        ("smtp://user:s3cret@mail.example:25", '"mail.example", and beside it "port: 25"'),
        ("::x", "not the name"),
        ("", "not the name"),
    ],
)
def test_hosts_gone_wrong_get_advice(text: str, advice: str) -> None:
    with pytest.raises(ValueError, match=advice):
        addresses.host(text)
