"""E-mail by SMTP: text, HTML and the plot inside. Stable ids let clients thread what belongs together."""

from __future__ import annotations

import smtplib
import ssl
from email.message import EmailMessage
from email.utils import format_datetime, localtime

from cellherd.config import read_secret
from cellherd.settings import Mail
from pipeline.alerts.channel import Message, NotSent, marked

TIMEOUT_S = 20.0


class MailChannel:
    """Sends from one account."""

    edits = False

    def __init__(self, settings: Mail) -> None:
        self._settings = settings
        self._password = read_secret(settings.password_file)

    def send(self, address: str, message: Message) -> str:
        """Send one mail. Raises NotSent; a 5xx answer is final."""
        try:
            with self._open() as server:
                self._sign_in(server)
                server.send_message(mail_of(message, self._settings.sender, address))
        except smtplib.SMTPAuthenticationError:
            raise NotSent(f"{self._settings.host} refuses user or password: see [mail]") from None
        except smtplib.SMTPRecipientsRefused as error:
            code = max(code for code, _ in error.recipients.values())
            raise NotSent(f"{address} is refused with {code}", final=code >= 500) from None
        except (smtplib.SMTPException, OSError) as error:
            raise NotSent(f"mail by {self._settings.host}:{self._settings.port} failed: {error}") from None
        return ""

    def edit(self, address: str, _reference: str, message: Message) -> str:
        """A mail that was sent cannot be changed: another one follows it. Raises NotSent."""
        return self.send(address, message)

    def _open(self) -> smtplib.SMTP:
        host, port = self._settings.host, self._settings.port
        if self._settings.security == "tls":
            return smtplib.SMTP_SSL(host, port, timeout=TIMEOUT_S, context=ssl.create_default_context())
        return smtplib.SMTP(host, port, timeout=TIMEOUT_S)

    def _sign_in(self, server: smtplib.SMTP) -> None:
        if self._settings.security == "starttls":
            server.starttls(context=ssl.create_default_context())
        if self._settings.username and self._password:
            server.login(self._settings.username, self._password)


def mail_of(message: Message, sender: str, recipient: str) -> EmailMessage:
    """The mail: text and HTML with the same words, the plot inline, ids that say what belongs together."""
    mail = EmailMessage()
    mail["From"], mail["To"] = sender, recipient
    mail["Subject"] = " ".join(marked(message)[0].split())
    mail["Date"] = format_datetime(localtime())
    mail["Message-ID"] = _id(message.key, sender)
    mail["Auto-Submitted"] = "auto-generated"
    if message.answers:
        mail["In-Reply-To"] = mail["References"] = _id(message.answers, sender)
    mail.set_content(message.text)
    plot = (
        '<p><img src="cid:plot" alt="The cells over the last two days" style="max-width:100%"></p>'
        if message.picture
        else ""
    )
    mail.add_alternative(f"<!doctype html><html><body>{message.html}{plot}</body></html>", subtype="html")
    if message.picture:
        html = mail.get_body(("html",))
        html.add_related(message.picture, "image", "png", cid="<plot>", filename="plot.png")  # type: ignore[union-attr]
    return mail


def _id(key: str, sender: str) -> str:
    host = sender.rpartition("@")[2].strip("<> ") or "cellherd"
    return f"<{key}@{host}>"
