"""The mail backend of an installation without mail: it refuses loudly."""

from collections.abc import Sequence

from django.core.mail import EmailMessage
from django.core.mail.backends.base import BaseEmailBackend


class MailNotSetUp(RuntimeError):
    """Code tried to send mail on an installation without mail."""


class NoMail(BaseEmailBackend):
    """The backend without ``EMAIL_URL``. Code that sends mail must check ``MAIL_ON`` first."""

    def send_messages(self, email_messages: Sequence[EmailMessage]) -> int:
        subjects = ", ".join(repr(message.subject) for message in email_messages)
        raise MailNotSetUp(
            f"cannot send {subjects}: EMAIL_URL is not set (docs/reference/settings.md)"
        )
