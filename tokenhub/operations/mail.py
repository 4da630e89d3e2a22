"""Notices by mail: one session with the operator's mail server for all that is due."""

import base64
import smtplib
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from email.message import EmailMessage
from email.utils import formatdate
from typing import Final

from tokenhub.operations import secrets
from tokenhub.operations.delivery import TIMEOUT_S, Away, Message, Refused, Unsendable
from tokenhub.operations.hub import Hub
from tokenhub.settings import Settings

_SIGNED_IN: Final = 235
_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")


@contextmanager
def session(hub: Hub) -> Iterator[Callable[[Message], None]]:
    """Connect and sign in; yields what sends one mail. Raises Away."""
    settings = hub.settings
    password = secrets.get(hub, secrets.SMTP_PASSWORD) if settings.smtp_user else None
    server = _ready(settings, password or "")
    try:
        yield lambda message: _send(server, settings, message)
    finally:
        with suppress(smtplib.SMTPException, OSError):
            server.quit()
        server.close()


def _ready(settings: Settings, password: str) -> smtplib.SMTP:
    server: smtplib.SMTP | None = None
    try:
        server = _connected(settings)
        if settings.smtp_user:
            _sign_in(server, settings.smtp_user, password)
    except (smtplib.SMTPException, OSError) as error:
        if server is not None:
            server.close()
        if isinstance(error, smtplib.SMTPAuthenticationError):
            raise Away("the mail server refuses smtp.user and smtp.password") from None
        raise Away(f"the mail server {settings.smtp_host}:{settings.smtp_port}: {_said(error)}") from None
    return server


def sender(settings: Settings) -> str:
    """Return the address that notices come from: ``smtp.from``, else the name to sign in with if it is an address."""
    return settings.smtp_from or (settings.smtp_user if "@" in settings.smtp_user else "tokenhub@localhost")


def _connected(settings: Settings) -> smtplib.SMTP:
    """Connect as ``smtp.security`` says; a password never travels in the clear but to this very machine."""
    if not settings.smtp_host:
        raise Away("smtp.host is not set")
    if settings.smtp_security == "none" and settings.smtp_user and settings.smtp_host not in _LOOPBACK:
        raise Away("smtp.security is none, so the password would travel in the clear: use starttls or tls")
    here = socket.gethostname()
    if settings.smtp_security == "tls":
        return smtplib.SMTP_SSL(
            settings.smtp_host,
            settings.smtp_port,
            here,
            timeout=TIMEOUT_S,
            context=ssl.create_default_context(),
        )
    server = smtplib.SMTP(settings.smtp_host, settings.smtp_port, here, timeout=TIMEOUT_S)
    try:
        if settings.smtp_security == "starttls":
            server.starttls(context=ssl.create_default_context())
    except BaseException:
        server.close()
        raise
    return server


def _sign_in(server: smtplib.SMTP, user: str, password: str) -> None:
    """Sign in; smtplib's own way fails over letters beyond ASCII, which are UTF-8 (RFC 4616)."""
    if user.isascii() and password.isascii():
        server.login(user, password)
        return
    server.ehlo_or_helo_if_needed()
    code, said = server.docmd("AUTH PLAIN " + base64.b64encode(f"\0{user}\0{password}".encode()).decode())
    if code != _SIGNED_IN:
        raise smtplib.SMTPAuthenticationError(code, said)


def _send(server: smtplib.SMTP, settings: Settings, message: Message) -> None:
    try:
        mail = _composed(sender(settings), message)
    except ValueError:
        raise Unsendable("the address is none that a mail can go to") from None
    try:
        server.send_message(mail)
    except smtplib.SMTPRecipientsRefused as error:
        code, _ = next(iter(error.recipients.values()))
        if code == 421:
            raise Away("the mail server closes") from None
        raise (Unsendable if code >= 500 else Refused)(f"the mail server refuses the address ({code})") from None
    except smtplib.SMTPNotSupportedError:
        raise Unsendable("the mail server takes no address with letters beyond ASCII") from None
    except (smtplib.SMTPSenderRefused, smtplib.SMTPDataError) as error:
        raise Refused(_said(error)) from None
    except (smtplib.SMTPException, OSError) as error:
        raise Away(_said(error)) from None


def _composed(from_address: str, message: Message) -> EmailMessage:
    mail = EmailMessage()
    mail["From"] = from_address
    mail["To"] = message.target
    mail["Subject"] = f"TokenHub: {message.subject}"
    mail["Date"] = formatdate(message.created_at_ms / 1000)
    mail["Message-ID"] = f"<{message.id}@{from_address.rpartition('@')[2].rstrip('>')}>"
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content(message.text)
    return mail


def _said(error: Exception) -> str:
    """Return what a server or the system said, by its code where there is one."""
    if isinstance(error, smtplib.SMTPResponseException):
        return f"answered {error.smtp_code}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return type(error).__name__
