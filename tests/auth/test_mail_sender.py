"""Sending of mail, with a real SMTP server."""

import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from asyncpg import Record

from services.auth.mail_outbox import MailOutbox
from services.auth.mail_sender import MailSender
from services.auth.mail_settings import MailConfig
from services.auth.mail_templates import Template
from services.auth.mail_transport import MailTransport
from services.common.postgres.database import Database
from tests.harness.background import Background
from tests.harness.certificates import create_certificates
from tests.harness.mail import PASSWORD, USERNAME, Mailbox, serve_mail
from tests.harness.sql import Sql
from tests.harness.waiting import eventually
from tools.ports import free_port

PASSPHRASE = "a passphrase for the mails"
CREDENTIALS = f"{USERNAME}:p%40ss%2Fword@"


class Mails:
    """An outbox and its senders."""

    def __init__(self, background: Background, url: str) -> None:
        self.background, self._url = background, url
        self.sql = Sql(background, url)
        self.outbox = MailOutbox(PASSPHRASE, is_enabled=True)

    def add(self, recipient: str = "") -> str:
        """Adds a mail, and returns its recipient."""

        async def add() -> None:
            async with Database(self._url, connections=2) as db, db.begin() as tx:
                self.outbox.add(tx, Template.PASSWORD_CHANGED, recipient, {})

        recipient = recipient or f"{uuid4()}@clinic.test"
        self.background.run(add())
        return recipient

    @contextmanager
    def sending(self, config: MailConfig, tls: ssl.SSLContext | None = None, **times: timedelta) -> Iterator[None]:
        """Runs a sender during a block."""

        @asynccontextmanager
        async def run() -> AsyncIterator[None]:
            transport = MailTransport(config, tls)
            async with (
                Database(self._url, connections=2) as db,
                MailSender(db, self.outbox, config, transport=transport, idle_seconds=0.1, **times),
            ):
                yield

        with self.background.during(run()):
            yield

    def newest(self) -> Record:
        """Returns the newest mail."""
        [row] = self.sql("SELECT * FROM mails ORDER BY create_time DESC LIMIT 1")
        return row

    def has_ended(self, outcome: str) -> bool:
        """Returns whether the newest mail has an outcome and no content."""
        row = self.newest()
        return (row["outcome"], row["encrypted_content"]) == (outcome, None)


@pytest.fixture
def mails(background: Background, database_url: str) -> Iterator[Mails]:
    mails = Mails(background, database_url)
    yield mails
    mails.sql("DELETE FROM mails")


@pytest.fixture(scope="module")
def server_tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """The TLS contexts of a server named localhost and of a client that trusts it."""
    certificates, folder = create_certificates(), tmp_path_factory.mktemp("tls")
    issued = certificates.issued["auth"]
    for name, text in {"cert": issued.certificate, "key": issued.key, "ca": certificates.trusted()}.items():
        (folder / name).write_text(text)
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(folder / "cert", folder / "key")
    client = ssl.create_default_context(cafile=Path(folder / "ca"))
    client.check_hostname = False  # the certificate is for another name
    return server, client


def test_mail_is_sent_once_and_erased(mailbox: Mailbox, mails: Mails) -> None:
    to = mails.add()
    with mails.sending(mailbox.config()), mails.sending(mailbox.config()):
        [message] = mailbox.wait_for(to)
        eventually(lambda: mails.has_ended("SENT"))
    assert len(mailbox.find(to)) == 1
    assert (message["From"], message["To"]) == ("PulseTrack <no-reply@pulsetrack.test>", to)
    assert message["Subject"] == "Your password was changed"
    assert message["Auto-Submitted"] == "auto-generated"
    assert "was changed on 20" in message.get_content()


def test_stored_mail_does_not_reveal_its_content(mails: Mails) -> None:
    to = mails.add()
    assert to.encode() not in mails.newest()["encrypted_content"]
    assert mails.outbox.open(mails.newest()).recipient == to


def test_mail_of_a_killed_sender_is_sent_once(mailbox: Mailbox, mails: Mails) -> None:
    to = mails.add()
    mails.sql("UPDATE mails SET due_time = now() + interval '0.5 s', attempts = 1")  # what the killed sender has left
    with mails.sending(mailbox.config()):
        mailbox.wait_for(to)
        eventually(lambda: mails.has_ended("SENT"))
    assert len(mailbox.find(to)) == 1


def test_message_id_is_that_of_the_mail_in_every_attempt(mailbox: Mailbox, mails: Mails) -> None:
    to = mails.add()
    with mails.sending(mailbox.config()):
        mailbox.wait_for(to)
        eventually(lambda: mails.has_ended("SENT"))
        content = mails.outbox.encrypt(mails.newest()["id"], to, {})
        mails.sql("UPDATE mails SET end_time = NULL, due_time = now(), encrypted_content = $1", content)
        first, second = mailbox.wait_for(to, 2)
    assert first["Message-ID"] == f"<{mails.newest()['id']}@pulsetrack.test>"
    assert first.as_bytes() == second.as_bytes()


def test_mail_survives_an_outage_of_the_server(mails: Mails, caplog: pytest.LogCaptureFixture) -> None:
    mailbox = Mailbox(port=free_port())
    with mails.sending(mailbox.config()):
        to = mails.add()
        eventually(lambda: "the mail server is unavailable" in caplog.text)
        with mails.background.during(serve_mail(mailbox)):
            mailbox.wait_for(to)
    assert mails.newest()["attempts"] == 1  # attempts without a connection do not count


def test_temporary_failure_is_retried(mailbox: Mailbox, mails: Mails) -> None:
    to = f"{uuid4()}@clinic.test"
    mailbox.responses[to] = ["451 Try again later", "452 Insufficient storage"]
    mails.add(to)
    with mails.sending(mailbox.config(), first_wait=timedelta(seconds=0.1)):
        mailbox.wait_for(to)
    assert mailbox.responses[to] == []


def test_permanent_failure_is_logged_without_the_address(
    mailbox: Mailbox, mails: Mails, caplog: pytest.LogCaptureFixture
) -> None:
    to = f"{uuid4()}@clinic.test"
    mailbox.responses[to] = [f"550 <{to}> is unknown"]
    mails.add(to)
    with mails.sending(mailbox.config()):
        eventually(lambda: mails.has_ended("FAILED") and "code 550" in caplog.text)
    assert to not in caplog.text
    assert mailbox.find(to) == []


def test_expired_mail_is_not_sent(mailbox: Mailbox, mails: Mails) -> None:
    expired = mails.add()
    mails.sql("UPDATE mails SET expire_time = now()")
    with mails.sending(mailbox.config()):
        eventually(lambda: mails.has_ended("EXPIRED"))
        mailbox.wait_for(mails.add())
    assert mailbox.find(expired) == []


def test_mail_of_a_newer_version_waits_for_it(mailbox: Mailbox, mails: Mails) -> None:
    mails.add()
    mails.sql("UPDATE mails SET template = 'FROM_A_NEWER_VERSION'")
    with mails.sending(mailbox.config()):
        mailbox.wait_for(mails.add())
    [row] = mails.sql("SELECT end_time FROM mails WHERE template = 'FROM_A_NEWER_VERSION'")
    assert row["end_time"] is None


@pytest.mark.parametrize("implicit", [False, True], ids=["starttls", "smtps"])
def test_credentials_are_sent_over_tls(
    mails: Mails, server_tls: tuple[ssl.SSLContext, ssl.SSLContext], *, implicit: bool
) -> None:
    server, client = server_tls
    with mails.background.during(serve_mail(tls=server, implicit=implicit)) as mailbox:
        config = mailbox.config("smtps" if implicit else "smtp", CREDENTIALS)
        assert config.password == PASSWORD
        with mails.sending(config, client):
            mailbox.wait_for(mails.add())


def test_credentials_are_not_sent_without_tls(mailbox: Mailbox, mails: Mails, caplog: pytest.LogCaptureFixture) -> None:
    to = mails.add()
    with mails.sending(mailbox.config(credentials=CREDENTIALS)):
        eventually(lambda: "the mail server is unavailable: SMTPException" in caplog.text)
    assert mailbox.find(to) == []


def test_untrusted_certificate_is_rejected(
    mails: Mails, server_tls: tuple[ssl.SSLContext, ssl.SSLContext], caplog: pytest.LogCaptureFixture
) -> None:
    with mails.background.during(serve_mail(tls=server_tls[0])) as mailbox:
        to = mails.add()
        with mails.sending(mailbox.config()):
            eventually(lambda: "CERTIFICATE_VERIFY_FAILED" in caplog.text)
        assert mailbox.find(to) == []


@pytest.mark.parametrize(
    ("recipient", "sent_to"),
    [("ana@münchen.example", "ana@xn--mnchen-3ya.example"), ("o'brien+x@clinic.test", "o'brien+x@clinic.test")],
    ids=["international", "punctuation"],
)
def test_unusual_address_receives_mail(mailbox: Mailbox, mails: Mails, recipient: str, sent_to: str) -> None:
    with mails.sending(mailbox.config()):
        mails.add(recipient)
        [message] = mailbox.wait_for(sent_to)
    assert message["To"] == sent_to


@pytest.mark.parametrize("recipient", ["a\r\nBcc: b@evil.test\r\n@clinic.test", "a@clinic.test\nBcc: b@evil.test"])
def test_recipient_with_a_line_break_is_not_sent(mailbox: Mailbox, mails: Mails, recipient: str) -> None:
    count = len(mailbox.received)
    mails.add(recipient)
    with mails.sending(mailbox.config()):
        eventually(lambda: mails.has_ended("FAILED"))
    assert len(mailbox.received) == count


def test_outbox_without_a_server_stores_no_mail(mails: Mails) -> None:
    mails.outbox.is_enabled = False
    mails.add()
    assert mails.sql("SELECT FROM mails") == []
