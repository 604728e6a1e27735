"""A listing moves on when its benchmark ends, not when somebody next opens it."""

from typing import Any

from django.dispatch import receiver

from marketplace.providers.services import listings_follow
from marketplace.shared.jobs.current import acting_as
from marketplace.shared.signals import benchmark_ran


@receiver(benchmark_ran)
def _follow(**_: Any) -> None:
    with acting_as("providers.follow_benchmarks"):
        listings_follow()
