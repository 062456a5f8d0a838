"""The recipes of docs/applications.md, taken out of the page as written: mail sent by them leaves
by the tenant's upstream, and a refusal is seen as the page says.

Not run by a test: Spring Boot, .NET, Go and Docker itself, for their size; and no test has a
printer. Those of dma and nullmailer are run by test_applications_octets.py.
"""

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.applications import PAGE, RECIPIENT, Place, configured
from support.certificates import Certificates
from support.need import need
from support.ports import free_port
from support.program import RELAY_SENDMAIL
from support.upstream import ThreadedUpstream

Done = subprocess.CompletedProcess[str]
Send = Callable[[Place], Done]

NOT_RUN = {
    ("Spring Boot", "properties"),
    (".NET", "csharp"),
    (".NET", "xml"),
    ("Go: net/smtp", "go"),
    ("Containers", "sh"),
    ("Containers", "compose"),
}


@pytest.fixture(scope="module")
def upstream(certificates: Certificates) -> Iterator[ThreadedUpstream]:
    users = {"acme": "acme's password"}
    with ThreadedUpstream(certificates.good(), tls="implicit", users=users) as upstream:
        yield upstream


@pytest.fixture(scope="module")
def place(
    upstream: ThreadedUpstream,
    certificates: Certificates,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("applications")
    with configured(folder, free_port(), upstream, certificates.ca_file) as relay:
        yield Place(relay, folder)


def by_php_mail(place: Place) -> Done:
    place.file("relay.ini", place.recipe("PHP: mail()", "ini"))
    program = place.recipe("PHP: mail()", "php") + "exit($sent ? 0 : 1);"
    return place.run(need("php"), "-r", program, PHP_INI_SCAN_DIR=f":{place.folder}")


def by_phpmailer(place: Place) -> Done:
    return _php(place, place.recipe("PHPMailer", "php"))


def _php(place: Place, program: str) -> Done:
    library = need("/usr/share/php/libphp-phpmailer/autoload.php")
    return place.run(need("php"), "-d", "error_log=", "-r", f"require '{library}'; {program}")


# As much of WordPress as concerns mail, in the order in which wp_mail() does it.
_WP_MAIL = """
$hooks = [];
function add_action($name, $hook) { $GLOBALS['hooks'][$name] = $hook; }
function add_filter($name, $hook) { $GLOBALS['hooks'][$name] = $hook; }
class WP_Error {
    function __construct(private $text) {}
    function get_error_message() { return $this->text; }
}
require 'relay.php';
$mail = new PHPMailer\\PHPMailer\\PHPMailer(true);
$from = $hooks['wp_mail_from']('wordpress@localhost');
$mail->setFrom($from, $hooks['wp_mail_from_name']('WordPress'), false);
$mail->addAddress('joe@customer.example');
$mail->Subject = 'Hello';
$mail->Body = 'It works.';
$mail->isMail();
$hooks['phpmailer_init']($mail);
try {
    $mail->send();
} catch (PHPMailer\\PHPMailer\\Exception $e) {
    $hooks['wp_mail_failed'](new WP_Error($e->getMessage()));
    exit(1);
}
"""


def by_wordpress(place: Place) -> Done:
    place.file("relay.php", place.recipe("WordPress", "php"))
    return _php(place, _WP_MAIL)


def by_django(place: Place) -> Done:
    place.file("settings.py", place.recipe("Django", "python"))
    need("django-admin")
    return place.run("sh", "-ec", place.recipe("Django", "sh"), PYTHONPATH=".")


def by_smtplib(place: Place) -> Done:
    return place.run(sys.executable, "-c", place.recipe("Python: smtplib", "python"))


def by_java(place: Place) -> Done:
    place.file("Send.java", place.recipe("Java: Jakarta Mail", "java"))
    jars = [need(f"/usr/share/java/jakarta-{name}.jar") for name in ("mail", "activation")]
    # The compiler of the first tier alone: a program as short as this one ends in half the time.
    quick = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]
    return place.run(need("java"), *quick, "-cp", ":".join(jars), "Send.java")


def by_nodemailer(place: Place) -> Done:
    need("/usr/share/nodejs/nodemailer/package.json")
    program = place.recipe("Node.js: nodemailer", "js")
    return place.run(need("node"), "-e", program, NODE_PATH="/usr/share/nodejs")


# What Action Mailer does with its settings: :smtp is this class of the mail gem.
_ACTION_MAILER = """
require 'mail'
require 'ostruct'
config = OpenStruct.new(action_mailer: OpenStruct.new)
%s
mailer = config.action_mailer
message = Mail.new(mailer.default_options.merge(to: 'joe@customer.example', body: 'It works.'))
message.delivery_method(Mail::SMTP, mailer.smtp_settings)
message.raise_delivery_errors = mailer.raise_delivery_errors
message.deliver!
"""


def by_rails(place: Place) -> Done:
    need("/usr/lib/ruby/vendor_ruby/mail.rb")
    program = _ACTION_MAILER % place.recipe("Ruby on Rails", "ruby")
    return place.run(need("ruby"), "-W0", "-e", program)


def by_mailx(place: Place) -> Done:
    need("bsd-mailx")
    place.file("mailrc", f"set sendmail={RELAY_SENDMAIL}\n")
    return place.run("sh", "-ec", place.recipe("mailx", "sh"), MAILRC="mailrc")


def by_msmtp(place: Place) -> Done:
    need("msmtp")
    file = place.file(".msmtprc", place.recipe("msmtp", "msmtp"))
    (place.folder / file).chmod(0o600)
    return place.run("sh", "-ec", place.recipe("msmtp", "sh"))


SENDS = [
    by_php_mail,
    by_phpmailer,
    by_wordpress,
    by_django,
    by_smtplib,
    by_java,
    by_nodemailer,
    by_rails,
    by_mailx,
    by_msmtp,
]


@pytest.mark.parametrize("send", SENDS)
def test_it_leaves_by_its_tenants_upstream(place: Place, upstream: ThreadedUpstream, send: Send):
    place.domain = "acme.example"
    before = len(upstream.transactions)
    done = send(place)
    assert done.returncode == 0, done.stdout
    transaction = upstream.wait_for(before + 1)[before]
    assert (transaction.reverse_path, transaction.recipients) == ("app@acme.example", (RECIPIENT,))
    assert b"app@acme.example" in transaction.header.partition(b"\r\nFrom: ")[2]


# What the page says that an application shows of a refusal, and of a relay that is down.
SEEN: dict[Send, tuple[str, str]] = {
    by_php_mail: ("the relay refused the message", "cannot connect"),
    by_phpmailer: ("data not accepted", "Could not connect to SMTP host"),
    by_wordpress: ("data not accepted", "Could not connect to SMTP host"),
    by_django: ("smtplib.SMTPDataError: (550, b'5.7.1", "ConnectionRefusedError"),
    by_smtplib: ("smtplib.SMTPDataError: (550, b'5.7.1", "ConnectionRefusedError"),
    by_java: ("SMTPSendFailedException: 550 5.7.1", "MailConnectException"),
    by_nodemailer: ("responseCode: 550", "ESOCKET"),
    by_rails: ("(Net::SMTPFatalError)", "Errno::ECONNREFUSED"),
    by_mailx: ("Can't send mail: sendmail process failed", "sendmail process failed"),
    by_msmtp: ("server message: 550 5.7.1", "cannot connect"),
}
STATUS: dict[Send, tuple[int, int]] = {by_mailx: (1, 1), by_msmtp: (69, 75)}


@pytest.mark.parametrize("send", SENDS)
def test_a_refusal_is_seen(place: Place, upstream: ThreadedUpstream, send: Send):
    place.domain = "stranger.example"
    before = len(upstream.transactions)
    done = send(place)
    assert SEEN[send][0] in done.stdout
    assert done.returncode == STATUS.get(send, (done.returncode or 1, 0))[0]
    assert len(upstream.transactions) == before


@pytest.mark.parametrize("send", SENDS)
def test_a_relay_that_is_down_is_seen(place: Place, send: Send):
    nowhere = Place(place.relay, place.folder, port=free_port())
    done = send(nowhere)
    assert SEEN[send][1] in done.stdout
    assert done.returncode == STATUS.get(send, (0, done.returncode or 1))[1]


def test_the_trail_has_the_message_and_the_refusal(place: Place, upstream: ThreadedUpstream):
    """By the first two of the commands that the page names."""
    before = len(upstream.transactions)
    place.domain = "acme.example"
    by_smtplib(place)
    upstream.wait_for(before + 1)
    place.relay.wait_for_event("email.sent", before + 1)
    place.domain = "stranger.example"
    by_smtplib(place)
    place.relay.wait_for_event("email.rejected")
    told = place.relay.listing("audit", "--since", "10m", "--tenant", "acme")
    assert {"email.accepted", "email.sent"} <= {event["event"] for event in told}
    refused = place.relay.listing("audit", "--since", "10m", "--event", "email.rejected")
    assert "no tenant sends as" in refused[-1]["reply"]["text"]


def test_every_block_of_the_page_is_run_or_known_not_to_be():
    tests = "".join(file.read_text() for file in Path(__file__).parent.glob("test_applications*"))
    blocks = {(block.heading, block.language) for block in PAGE.blocks}
    assert {block for block in blocks if '"{}", "{}"'.format(*block) not in tests} == set()
    assert blocks >= NOT_RUN


def test_every_section_is_in_the_table():
    for heading in {block.heading for block in PAGE.blocks}:
        anchor = re.sub("[^a-z0-9 -]", "", heading.lower()).replace(" ", "-")
        assert f"](#{anchor}) |" in PAGE.text
