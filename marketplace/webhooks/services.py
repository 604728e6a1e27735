"""Sending, sending again, and the secrets that sign."""

import json
import logging
import re
import secrets
from base64 import b64encode
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.serializers.json import DjangoJSONEncoder
from django.db import transaction
from django.db.models import Count, F, Func, IntegerField, Q, Sum, Window
from django.utils import timezone
from django.utils.translation import gettext as _

from marketplace.accounts.models import Organisation, User
from marketplace.shared.jobs.messages import task_send
from marketplace.shared.jobs.periodic import Priority
from marketplace.shared.sealing import Purpose, Unreadable, vault
from marketplace.webhooks.addresses import webhook_url_checked
from marketplace.webhooks.models import (
    EVENT_ID_MAX,
    Delivery,
    DeliveryState,
    DisabledEndpoint,
    WebhookSecret,
)

__all__ = ["delivery_resend", "secret_rotate", "webhook_send", "webhook_url_checked"]

DELIVER = "webhooks.deliver"
"""The task that makes attempts."""
BODY_BYTES_MAX = 1024 * 1024
WAITING_MAX = 10_000
"""Deliveries of an organisation that may wait at a time; what comes beyond it is not sent."""
BODY_BYTES = Func(F("body"), function="octet_length", output_field=IntegerField())
"""Its stored length, for which PostgreSQL does not read it."""
OVERLAP_MAX = timedelta(days=30)
SECRET_PREFIX = "whsec_"  # noqa: S105 - it only begins one
SECRET_BYTES = 32
log = logging.getLogger(__name__)
_EVENT_ID = re.compile(rf"[A-Za-z0-9_:-]{{1,{EVENT_ID_MAX}}}")


@transaction.atomic
def webhook_send(
    *,
    organisation_id: int,
    url: str,
    event_type: str,
    payload: Mapping[str, Any],
    event_id: str,
) -> Delivery:
    """Send an event to a URL once the caller's transaction is committed.

    ``payload`` is the body, as JSON. ``event_id`` becomes the ``webhook-id``: an event is told to a
    URL once, however often it is sent. What cannot be sent (a disabled endpoint, a body beyond
    `BODY_BYTES_MAX`, more than `WAITING_MAX` or ``WAYPOST_WEBHOOK_BYTES_MAX`` that wait) is in the
    log, which says why.
    ``ValueError`` for an id that no header can carry.
    """
    if not _EVENT_ID.fullmatch(event_id):
        raise ValueError(f"an event's id must match {_EVENT_ID.pattern}, got {event_id!r}")
    body = json.dumps(payload, separators=(",", ":"), cls=DjangoJSONEncoder)
    values = {"event_type": event_type, "body": body, **_beginning(organisation_id, url, body)}
    delivery, made = Delivery.objects.get_or_create(
        organisation_id=organisation_id, url=url, event_id=event_id, defaults=values
    )
    if made and delivery.state == DeliveryState.WAITING:
        transaction.on_commit(_tell)
    return delivery


def _tell() -> None:
    task_send(DELIVER, priority=Priority.FIRST)


def _beginning(organisation_id: int, url: str, body: str) -> dict[str, Any]:
    """The columns of a new delivery: it waits, or is over before it began."""
    now = timezone.now()
    if DisabledEndpoint.objects.filter(organisation_id=organisation_id, url=url).exists():
        return {"state": DeliveryState.DISABLED, "ended_at": now}
    if len(body) > BODY_BYTES_MAX:
        return _unsent(f"The event has {len(body)} bytes, and at most {BODY_BYTES_MAX} are sent.")
    waiting = Delivery.objects.filter(organisation_id=organisation_id, state=DeliveryState.WAITING)
    there = waiting.aggregate(count=Count("pk"), bytes=Sum(BODY_BYTES, default=0))
    if there["count"] >= WAITING_MAX:
        return _unsent(f"{WAITING_MAX} deliveries of the organisation wait already.", body)
    most = settings.WAYPOST_WEBHOOK_BYTES_MAX
    if there["bytes"] + len(body) > most:
        return _unsent(f"{there['bytes']} bytes of the organisation wait, of at most {most}.")
    return {"due_at": now}


def _unsent(error: str, kept: str = "") -> dict[str, Any]:
    return {"state": DeliveryState.FAILED, "error": error, "ended_at": timezone.now(), "body": kept}


def contents_forget(at_once: int) -> int:
    """Empty the oldest deliveries that ended, of organisations whose contents are too many bytes.

    Of each organisation ``WAYPOST_WEBHOOK_BYTES_MAX`` stay: what waits, and the newest of the log.
    At most ``at_once`` of each are emptied; returns how many were.
    """
    most = settings.WAYPOST_WEBHOOK_BYTES_MAX
    held = Delivery.objects.order_by().values("organisation").annotate(bytes=Sum(BODY_BYTES))
    emptied = 0
    for organisation_id in held.filter(bytes__gt=most).values_list("organisation", flat=True):
        rows = Delivery.objects.filter(organisation=organisation_id)
        waiting = rows.filter(state=DeliveryState.WAITING)
        room = most - waiting.aggregate(bytes=Sum(BODY_BYTES, default=0))["bytes"]
        ended = rows.exclude(state=DeliveryState.WAITING).exclude(body="")
        since = Window(Sum(BODY_BYTES), order_by=F("pk").desc())
        old = ended.annotate(since=since).filter(since__gt=room).order_by("pk")
        # One that is sent again meanwhile keeps its content.
        emptied += ended.filter(pk__in=list(old.values_list("pk", flat=True)[:at_once])).update(
            body=""
        )
    return emptied


@transaction.atomic
def delivery_resend(*, delivery: Delivery) -> Delivery:
    """Send it again now, with all its tries, under the same ``webhook-id``.

    If it is heard, a disabled endpoint is enabled again.
    """
    row = Delivery.objects.select_for_update().get(pk=delivery.pk)
    if not row.body:
        raise ValidationError(_("Its content is not kept: there was too much of it."))
    row.state, row.tries, row.error = DeliveryState.WAITING, 0, ""
    row.due_at, row.ended_at = timezone.now(), None
    row.save(update_fields=["state", "tries", "error", "due_at", "ended_at"])
    transaction.on_commit(_tell)
    return row


@transaction.atomic
def secret_rotate(
    *, organisation: Organisation, overlap: timedelta, created_by: User | None = None
) -> tuple[WebhookSecret, str]:
    """Make a new signing secret; returns its row and the secret, which is shown this once.

    Until ``overlap`` is over every webhook has the signatures of both: that of an earlier rotation
    ends at once. ``ValidationError`` for an overlap beyond `OVERLAP_MAX`.
    """
    if not timedelta() <= overlap <= OVERLAP_MAX:
        hours = OVERLAP_MAX // timedelta(hours=1)
        raise ValidationError({"overlap_hours": _("From 0 to %(n)s hours.") % {"n": hours}})
    # One rotation at a time.
    Organisation.objects.select_for_update(no_key=True).get(pk=organisation.pk)
    now = timezone.now()
    mine = WebhookSecret.objects.filter(organisation=organisation)
    mine.exclude(expires_at=None).delete()
    if overlap:
        mine.update(expires_at=now + overlap)
    else:
        mine.delete()
    return _secret_create(organisation.pk, created_by)


def secrets_signing(organisation_id: int, now: datetime) -> tuple[str, ...]:
    """The secrets that sign now, the newest first. Makes one where none can be read."""
    if found := _read(organisation_id, now):
        return found
    with transaction.atomic():
        Organisation.objects.select_for_update(no_key=True).get(pk=organisation_id)
        if found := _read(organisation_id, now):
            return found
        WebhookSecret.objects.filter(organisation_id=organisation_id).delete()
        _row, secret = _secret_create(organisation_id, None)
    return (secret,)


def _read(organisation_id: int, now: datetime) -> tuple[str, ...]:
    lasting = Q(expires_at=None) | Q(expires_at__gt=now)
    found = []
    for row in WebhookSecret.objects.filter(lasting, organisation_id=organisation_id):
        try:
            found.append(vault(Purpose.WEBHOOKS).open(row.sealed))
        except Unreadable as error:
            log.error("the webhook secret %s of organisation %s: %s", row, organisation_id, error)
    return tuple(found)


def _secret_create(organisation_id: int, created_by: User | None) -> tuple[WebhookSecret, str]:
    secret = SECRET_PREFIX + b64encode(secrets.token_bytes(SECRET_BYTES)).decode()
    row = WebhookSecret.objects.create(
        organisation_id=organisation_id,
        sealed=vault(Purpose.WEBHOOKS).seal(secret),
        masked=f"{SECRET_PREFIX}…{secret.rstrip('=')[-4:]}",
        created_by=created_by,
    )
    return row, secret
