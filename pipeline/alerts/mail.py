"""E-mail by SMTP: text, HTML and the plot inside. Stable ids let clients thread what belongs together."""

from __future__ import annotations

import re
import smtplib
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from email.message import EmailMessage
from email.utils import format_datetime, localtime, parseaddr
from html import escape

from cellherd.config import file_named, read_secret
from cellherd.settings_people import Mail
from pipeline.alerts.channel import Message, NotSent, marked
from pipeline.alerts.letter import PLOT
from pipeline.alerts.story import plain
from pipeline.sentences import say

TIMEOUT_S = 20.0
LONGEST_SUBJECT = 200
PERMANENT = 500
ANSWERS = range(400, 600)
TOO_LONG = "Line too long"
"""What smtplib makes of an answer that does not end, with a number of its own."""
NOT_OURS = re.compile(r"[^A-Za-z0-9._-]+")


class MailChannel:
    """Sends from one account."""

    edits = False

    def __init__(self, settings: Mail, timeout_s: float = TIMEOUT_S) -> None:
        self._settings = settings
        self._password = read_secret(settings.password_file)
        self._timeout_s = timeout_s
        trusted = str(file_named(settings.ca_file)) if settings.ca_file else None
        self._tls = ssl.create_default_context(cafile=trusted)

    def send(self, address: str, message: Message) -> str:
        """Send one mail. Raises NotSent; a 5xx answer about the mail or its recipient is final."""
        try:
            mail = mail_of(message, self._settings.sender, address)
        except ValueError as error:
            raise NotSent(f"no mail can be addressed to {address!r}: {error}", final=True) from None
        with self._signed_in() as server:
            self._hand_over(server, mail, address)
        return ""

    def edit(self, address: str, _reference: str, message: Message) -> str:
        """A mail that was sent cannot be changed: another one follows it. Raises NotSent."""
        return self.send(address, message)

    @contextmanager
    def _signed_in(self) -> Iterator[smtplib.SMTP]:
        """A server that knows us. Nothing has left when this fails, and its good-bye is not waited for."""
        host, port = self._settings.host, self._settings.port
        server: smtplib.SMTP | None = None
        try:
            server = self._open()
            if self._settings.security == "starttls":
                server.starttls(context=self._tls)
            if self._settings.username and self._password:
                server.login(self._settings.username, self._password)
        except smtplib.SMTPAuthenticationError:
            raise NotSent(f"{host} refuses user or password: see [mail]") from None
        except (smtplib.SMTPException, OSError, ValueError) as error:
            raise NotSent(f"mail by {host}:{port} failed: {_words(error)}") from None
        else:
            yield server
        finally:
            if server is not None:
                with suppress(smtplib.SMTPException, OSError, ValueError):
                    server.quit()
                server.close()

    def _open(self) -> smtplib.SMTP:
        host, port = self._settings.host, self._settings.port
        if self._settings.security == "tls":
            return smtplib.SMTP_SSL(host, port, timeout=self._timeout_s, context=self._tls)
        return smtplib.SMTP(host, port, timeout=self._timeout_s)

    def _hand_over(self, server: smtplib.SMTP, mail: EmailMessage, address: str) -> None:
        """From MAIL to the full stop: a line that breaks in between leaves it open whether the mail arrived."""
        host = self._settings.host
        try:
            server.send_message(mail)
        except smtplib.SMTPRecipientsRefused as error:
            code = max(code for code, _ in error.recipients.values())
            raise NotSent(f"{address} is refused with {code}", final=code >= PERMANENT) from None
        except smtplib.SMTPResponseException as error:
            said = _words(error)
            if error.smtp_code not in ANSWERS or TOO_LONG in said:
                raise NotSent(f"{host} answers in rubbish: {said}", unsure=True) from None
            raise NotSent(f"{host} refuses the mail: {said}", final=error.smtp_code >= PERMANENT) from None
        except smtplib.SMTPNotSupportedError as error:
            raise NotSent(f"{host} cannot write to {address}: {_words(error)}", final=True) from None
        except (smtplib.SMTPException, OSError, ValueError) as error:
            raise NotSent(f"{host} broke off: {_words(error)}", unsure=True) from None


def mail_of(message: Message, sender: str, recipient: str) -> EmailMessage:
    """The mail: text and HTML with the same words, the plot inline, ids that say what belongs together.

    Raises ValueError for an address that is none.
    """
    mail = EmailMessage()
    mail["From"], mail["To"] = sender, recipient
    mail["Subject"] = plain(marked(message)[0])[:LONGEST_SUBJECT]
    mail["Date"] = format_datetime(localtime())
    mail["Message-ID"] = _id(message.key, sender)
    mail["Auto-Submitted"] = "auto-generated"
    if earlier := _earlier(message):
        mail["In-Reply-To"] = _id(earlier[-1], sender)
        mail["References"] = " ".join(_id(key, sender) for key in earlier)
    mail.set_content(message.text)
    alt = escape(say(message.language, "plot_of"))
    plot = f'<p style="margin:20px 0 0"><img src="cid:plot" alt="{alt}" style="max-width:100%;height:auto"></p>'
    mail.add_alternative(message.html.replace(PLOT, plot if message.picture else ""), subtype="html")
    if message.picture:
        html = mail.get_body(("html",))
        html.add_related(  # type: ignore[union-attr]
            message.picture, "image", "png", cid="<plot>", filename="plot.png", disposition="inline"
        )
    return mail


def _earlier(message: Message) -> list[str]:
    """Keys of mails of the same thread, the first one first. Its id holds for those who never got it, too."""
    if not message.answers:
        return []
    first = f"{message.thread}.1" if message.thread else message.answers
    return list(dict.fromkeys((first, message.answers)))


def _id(key: str, sender: str) -> str:
    host = parseaddr(sender)[1].rpartition("@")[2] or "cellherd"
    return f"<{NOT_OURS.sub('-', key)}@{NOT_OURS.sub('-', host)}>"


def _words(error: Exception) -> str:
    """What a server or the system said, in one short line."""
    said = error.smtp_error if isinstance(error, smtplib.SMTPResponseException) else str(error)
    text = said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
    return plain(text)[:LONGEST_SUBJECT] or type(error).__name__
