"""The replay that the landing page shows."""

import msgspec
from django.db import models

from marketplace.storefront.landing.replay import Replay


class LandingReplay(models.Model):
    """The latest replay, as JSON: one row."""

    made_at = models.DateTimeField(auto_now=True)
    replay = models.JSONField()

    def __str__(self) -> str:
        return f"replay of {self.made_at:%Y-%m-%d %H:%M}"

    @property
    def shown(self) -> Replay:
        return msgspec.convert(self.replay, Replay)
