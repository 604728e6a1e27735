"""Writing down who did what to a route, and why."""

from marketplace.accounts.models import User
from marketplace.catalog.models import AIModel
from marketplace.routing.models import Policy
from marketplace.routing.trials.models import EventKind, RoutingEvent

LOOP = "loop"
DEMO = "demo"
"""Why the demo's own settings are what they are."""


def event_record(
    *,
    kind: EventKind,
    model: AIModel,
    policy: Policy | None = None,
    by: User | None = None,
    why: str = "",
) -> RoutingEvent:
    """Keep it for good. ``by`` None is the loop itself."""
    return RoutingEvent.objects.create(
        model=model.name,
        kind=kind,
        version=policy.version if policy else 0,
        policy_id=policy.pk if policy else 0,
        actor=by.email if by else LOOP,
        why=why,
    )


def tuned_by(model: AIModel) -> str:
    """Why its settings were changed last, "" where they are the defaults."""
    last = RoutingEvent.objects.filter(model=model.name, kind=EventKind.TUNED).first()
    return last.why if last else ""
