"""Keeping dead letters, and sending one to its queue again."""

import json
import logging
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _
from kombu import Connection
from kombu.exceptions import OperationalError

from marketplace.accounts.models import User
from marketplace.dead_letters.models import DeadLetter
from marketplace.shared.jobs.brokers import options_to_send
from marketplace.shared.jobs.letters import Letter, Reason, letter_return, letters_received
from marketplace.shared.jobs.messages import SEND_TIMEOUT_S

AT_ONCE = 500
KEPT_MAX = 10_000
"""The newest are kept."""

log = logging.getLogger(__name__)


def letters_keep() -> int:
    """Take the letters out of their queue and keep them; returns how many were new."""
    if not settings.BROKER_URL:
        return 0
    new = 0
    with _connection() as connection:
        for letter in letters_received(connection, AT_ONCE):
            new += _keep(letter)
    if new:
        log.error("%s new dead letters", new)
        beyond = DeadLetter.objects.values_list("pk", flat=True)[KEPT_MAX : KEPT_MAX + 1].first()
        if beyond is not None:
            DeadLetter.objects.filter(pk__lte=beyond).delete()
    return new


def _keep(letter: Letter) -> bool:
    """Whether it was not kept before: the broker may deliver a letter twice."""
    texts = ("reason", "detail", "task", "queue", "content_type", "content_encoding")
    columns: dict[str, Any] = {
        name: str(getattr(letter, name)).replace("\0", "")[: _length(name)] for name in texts
    }
    columns |= {"headers": json.dumps(letter.headers), "body": letter.body}
    _row, is_new = DeadLetter.objects.get_or_create(letter_id=letter.id, defaults=columns)
    return is_new


def _length(name: str) -> int:
    return int(getattr(DeadLetter._meta.get_field(name), "max_length", None) or 0)


@transaction.atomic
def letter_retry(*, dead: DeadLetter, retried_by: User) -> None:
    """Send the message to its queue again. ``ValidationError`` where that cannot be."""
    row = DeadLetter.objects.select_for_update().get(pk=dead.pk)
    if row.retried_at is not None:
        raise ValidationError(_("It was already retried."))
    if row.body is None or not row.queue:
        raise ValidationError(_("Its message is incomplete and cannot be sent again."))
    row.retried_at, row.retried_by = timezone.now(), retried_by
    row.save(update_fields=["retried_at", "retried_by"])
    letter = Letter(
        reason=Reason(row.reason),
        detail=row.detail,
        task=row.task,
        queue=row.queue,
        body=bytes(row.body),
        content_type=row.content_type,
        content_encoding=row.content_encoding,
        headers=json.loads(row.headers),
    )
    connection = _connection()
    try:
        with connection, connection.Producer() as producer:
            letter_return(producer, letter)
    except (
        OperationalError,
        *connection.connection_errors,
        *connection.channel_errors,
    ) as error:
        raise ValidationError(_("The broker did not accept it. Try again later.")) from error


def _connection() -> Connection:
    url = settings.BROKER_URL
    options = options_to_send(url, SEND_TIMEOUT_S)
    return Connection(url, connect_timeout=SEND_TIMEOUT_S, transport_options=options)
