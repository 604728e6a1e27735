"""Events that are sent, and what proves them."""

from datetime import timedelta
from typing import Any

from django.utils import timezone
from standardwebhooks import Webhook, WebhookVerificationError

from marketplace.accounts.models import Organisation
from marketplace.webhooks.models import Delivery, DeliveryState
from marketplace.webhooks.services import secret_rotate, webhook_send
from tests.integration.marketplace.shop import Shop
from tests.integration.marketplace.webhooks.receiver import Receiver

PAYLOAD = {"id": "p1", "output": "Olá, \0 and 😀"}


def sent(shop: Shop, url: str, event_id: str = "evt_1", **payload: Any) -> Delivery:
    return webhook_send(
        organisation_id=shop.organisation.pk,
        url=url,
        event_type="prediction.completed",
        payload=payload or PAYLOAD,
        event_id=event_id,
    )


def made_due() -> None:
    """As if the delays, and the leases of processes that died, were over."""
    Delivery.objects.filter(state=DeliveryState.WAITING).update(due_at=timezone.now())


def secret_of(organisation: Organisation, overlap: timedelta = timedelta()) -> str:
    return secret_rotate(organisation=organisation, overlap=overlap)[1]


def is_signed_by(secret: str, receiver: Receiver) -> bool:
    heard = receiver.heard[-1]
    try:
        Webhook(secret).verify(heard.body, heard.headers)
    except WebhookVerificationError:
        return False
    return True
