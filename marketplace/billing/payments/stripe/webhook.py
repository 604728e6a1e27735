"""The webhook for Stripe's events."""

import logging
from http import HTTPStatus

import msgspec
import stripe
from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse, RawPostDataException
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from marketplace.billing.payments.services import PaymentMismatch
from marketplace.billing.payments.stripe.events import event_receive
from marketplace.billing.payments.stripe.shapes import Event

log = logging.getLogger(__name__)

EVENT_BYTES_MAX = 262_144
"""The largest body; Stripe's events have a few kilobytes."""
TOLERANCE_S = 300
"""The greatest age of a signature, against replay attacks."""


@csrf_exempt
@require_POST
def stripe_webhook(request: HttpRequest) -> HttpResponse:
    """200 if the event was applied, seen before or is not ours; with other codes Stripe retries.

    400: not signed by Stripe, or not an event. 409: Stripe received another amount or currency than
    requested. 503: Stripe did not answer a further request.
    """
    if not settings.PAYMENTS_ON:
        raise Http404
    if int(request.headers.get("Content-Length") or 0) > EVENT_BYTES_MAX:
        return HttpResponse("too large", status=HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
    try:
        stripe.WebhookSignature.verify_header(
            request.body,
            request.headers.get("Stripe-Signature", ""),
            settings.STRIPE_WEBHOOK_SECRET,
            TOLERANCE_S,
        )
        verdict = event_receive(
            event=msgspec.json.decode(request.body, type=Event), now=timezone.now()
        )
    except (
        stripe.SignatureVerificationError,
        UnicodeDecodeError,
        msgspec.DecodeError,
        # A form of several parts, which was read already.
        RawPostDataException,
    ) as error:
        log.warning("stripe: an event was refused: %s", error)
        return HttpResponse("not an event of Stripe's", status=HTTPStatus.BAD_REQUEST)
    except PaymentMismatch:
        log.exception("stripe: an event was not applied")
        return HttpResponse("does not fit the payment", status=HTTPStatus.CONFLICT)
    except stripe.StripeError:
        log.exception("stripe: an event was not applied yet")
        return HttpResponse("later", status=HTTPStatus.SERVICE_UNAVAILABLE)
    return HttpResponse(verdict)
