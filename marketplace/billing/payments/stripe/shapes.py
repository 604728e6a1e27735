"""Types for the fields that we read of Stripe's objects and events, validated at the edge."""

import builtins
import uuid
from typing import Self, TypeVar

import msgspec
import stripe


def our_id(reference: str | None) -> uuid.UUID | None:
    """The row id that Stripe carries for us; None if there is none."""
    try:
        return uuid.UUID(reference or "")
    except ValueError:
        return None


S = TypeVar("S", bound="Shape")


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """A Stripe object. Unknown fields are ignored, a wrong type is an error."""

    id: str

    @classmethod
    def of(cls, found: stripe.StripeObject) -> Self:
        """Convert an object of Stripe's library."""
        return msgspec.convert(found.to_dict(), cls)


class Session(Shape, frozen=True, kw_only=True):
    """A Checkout Session. ``payment_status`` is ``paid``, ``unpaid`` or ``no_payment_required``."""

    status: str | None = None
    client_reference_id: str | None = None
    payment_intent: str | None = None
    payment_status: str
    amount_total: int | None = None
    currency: str | None = None


class IntentError(msgspec.Struct, frozen=True):
    """Why the last attempt to pay failed, in Stripe's words."""

    message: str | None = None
    code: str | None = None


class Intent(Shape, frozen=True, kw_only=True):
    """A PaymentIntent."""

    status: str
    amount: int
    currency: str
    metadata: dict[str, str] = {}
    payment_method: str | None = None
    setup_future_usage: str | None = None
    last_payment_error: IntentError | None = None

    @property
    def failure(self) -> str:
        """The text to show for a failed payment."""
        error = self.last_payment_error
        message = (error.message or error.code) if error else None
        return message or f"Stripe left the payment as {self.status}."


class StripeRefund(Shape, frozen=True, kw_only=True):
    """A refund. ``status``: ``pending``, ``requires_action``, ``succeeded``, ``failed``, …"""

    amount: int
    currency: str
    status: str | None = None
    payment_intent: str | None = None
    metadata: dict[str, str] | None = None
    failure_reason: str | None = None


class StripeDispute(Shape, frozen=True, kw_only=True):
    """A dispute. ``status``: ``needs_response``, ``warning_closed``, ``won``, ``lost``, …"""

    amount: int
    currency: str
    status: str
    reason: str = ""
    payment_intent: str | None = None


class EventBody(msgspec.Struct, frozen=True):
    """The body of an event."""

    object: msgspec.Raw


class Event(Shape, frozen=True, kw_only=True):
    """An event; ``created`` is in Unix seconds."""

    type: str
    created: int
    data: EventBody

    def about(self, shape: "builtins.type[S]") -> S:
        """The event's object as ``shape``; ``msgspec.DecodeError`` if it does not fit."""
        return msgspec.json.decode(self.data.object, type=shape)
