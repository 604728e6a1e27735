"""Mail where it is set up, and a loud refusal where it is not."""

from collections.abc import Sequence

from django.core.mail import EmailMessage
from django.core.mail.backends.base import BaseEmailBackend


class MailNotSetUp(RuntimeError):
    """Something was to be mailed on an installation without mail."""


class NoMail(BaseEmailBackend):
    """The backend without ``EMAIL_URL``: whoever sends all the same has missed ``MAIL_ON``."""

    def send_messages(self, email_messages: Sequence[EmailMessage]) -> int:
        subjects = ", ".join(repr(message.subject) for message in email_messages)
        raise MailNotSetUp(
            f"cannot send {subjects}: EMAIL_URL is not set (docs/reference/settings.md)"
        )
