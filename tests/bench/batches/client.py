"""The product's own client of batches, outside a marketplace process."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import django

if TYPE_CHECKING:
    from marketplace.batches.client import BatchClient


def batch_client(url: str, key: str) -> BatchClient:
    """See ``marketplace.batches.client``."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "marketplace.config.settings_check")
    django.setup()
    from marketplace.batches.client import BatchClient

    return BatchClient(url, key)
