"""Keeps the landing page's replay fresh."""

from datetime import timedelta

import msgspec
from django.utils import timezone

from marketplace.shared.jobs.periodic import Priority, Queue, every
from marketplace.storefront.landing.models import LandingReplay
from marketplace.storefront.landing.recorded import recorded_replay
from marketplace.storefront.landing.replay import trace_replayed

FRESH_FOR = timedelta(hours=1)


@every(60.0, queue=Queue.WORK, priority=Priority.LAST)
def replay_for_landing() -> bool:
    """Replay this installation's calls, else the built-in trace; whether it was time to."""
    now = timezone.now()
    if LandingReplay.objects.filter(made_at__gt=now - FRESH_FOR).exists():
        return False
    replay = recorded_replay(now) or trace_replayed()
    LandingReplay.objects.update_or_create(pk=1, defaults={"replay": msgspec.to_builtins(replay)})
    return True
