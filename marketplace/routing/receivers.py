"""What routing does when something changes below it, within the same transaction."""

from typing import Any

from django.dispatch import receiver

from marketplace.routing.services import snapshot_publish
from marketplace.shared.signals import catalog_changed


@receiver(catalog_changed)
def _publish(**_: Any) -> None:
    snapshot_publish()
