"""Records who did what to a route, and why."""

from marketplace.accounts.models import User
from marketplace.catalog.models import AIModel
from marketplace.routing.models import Policy
from marketplace.routing.trials.models import EventKind, RoutingEvent

LOOP = "loop"
DEMO = "demo"
"""The reason recorded for the demo's own settings."""


def event_record(
    *,
    kind: EventKind,
    model: AIModel,
    policy: Policy | None = None,
    by: User | None = None,
    why: str = "",
) -> RoutingEvent:
    """Record an event permanently. ``by`` None means automatic tuning."""
    return RoutingEvent.objects.create(
        model=model.name,
        kind=kind,
        version=policy.version if policy else 0,
        policy_id=policy.pk if policy else 0,
        actor=by.email if by else LOOP,
        why=why,
    )


def tuned_by(model: AIModel) -> str:
    """The reason of the last change of settings; "" for the defaults."""
    last = RoutingEvent.objects.filter(model=model.name, kind=EventKind.TUNED).first()
    return last.why if last else ""
