"""All that is kept sealed: under which key each row is, and sealing it under the newest one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from allauth.mfa.models import Authenticator
from django.db import transaction
from django.db.models import QuerySet

from marketplace.endpoints.models import OwnEndpoint
from marketplace.shared.sealing import Purpose, Unreadable, is_envelope, vault
from marketplace.shared.signals import catalog_changed
from marketplace.webhooks.models import WebhookSecret

SEEDS = ("secret", "seed")
"""What is sealed in the data of an authenticator app, and of recovery codes."""


class Sealed(StrEnum):
    """Under which key a row is."""

    NEWEST = "newest"
    OLDER = "older"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class Store:
    """Rows with something sealed in ``column``; ``resealed`` is its value under the newest key."""

    rows: Callable[[], QuerySet[Any]]
    column: str
    resealed: Callable[[Any], Any]


def _webhook_secrets() -> QuerySet[WebhookSecret]:
    return WebhookSecret.objects.all()


def _second_factors() -> QuerySet[Authenticator]:
    return Authenticator.objects.exclude(type=Authenticator.Type.WEBAUTHN)


def _endpoint_keys() -> QuerySet[OwnEndpoint]:
    return OwnEndpoint.objects.exclude(sealed_key="")


def _secret_resealed(sealed: str) -> str:
    return vault(Purpose.WEBHOOKS).resealed(sealed)


def _endpoint_key_resealed(sealed: str) -> str:
    return vault(Purpose.ENDPOINTS).resealed(sealed)


def _seeds_resealed(data: Mapping[str, Any]) -> dict[str, Any]:
    seeds = {name: _seed_resealed(data[name]) for name in SEEDS if name in data}
    return {**data, **seeds}


def _seed_resealed(text: str) -> str:
    kept = vault(Purpose.SECOND_FACTORS)
    return kept.resealed(text) if is_envelope(text) else kept.seal(text)


STORES: Mapping[Purpose, Store] = {
    Purpose.WEBHOOKS: Store(_webhook_secrets, "sealed", _secret_resealed),
    Purpose.SECOND_FACTORS: Store(_second_factors, "data", _seeds_resealed),
    Purpose.ENDPOINTS: Store(_endpoint_keys, "sealed_key", _endpoint_key_resealed),
}


def secrets_look() -> dict[Purpose, Counter[Sealed]]:
    """How many rows are under which key."""
    return {
        purpose: Counter(_resealed(store, value)[0] for value in _values(store))
        for purpose, store in STORES.items()
    }


def secrets_rotate() -> dict[Purpose, Counter[Sealed]]:
    """Seal all under the newest key; returns how many rows were under which.

    Each row is a transaction of its own: what was interrupted goes on when it is run again. In the
    end routers get the keys of endpoints as they are sealed now.
    """
    found = {
        purpose: Counter(
            _rotate(store, pk) for pk in store.rows().order_by("pk").values_list("pk", flat=True)
        )
        for purpose, store in STORES.items()
    }
    catalog_changed.send(None)
    return found


def _values(store: Store) -> QuerySet[Any]:
    return store.rows().order_by("pk").values_list(store.column, flat=True)


@transaction.atomic
def _rotate(store: Store, pk: int) -> Sealed:
    row = store.rows().select_for_update().filter(pk=pk)
    found = list(row.values_list(store.column, flat=True))
    if not found:
        # Deleted meanwhile.
        return Sealed.NEWEST
    state, value = _resealed(store, found[0])
    if state is Sealed.OLDER:
        # Past the audit log: nobody changed the secret.
        row.update(**{store.column: value})
    return state


def _resealed(store: Store, value: Any) -> tuple[Sealed, Any]:
    try:
        resealed = store.resealed(value)
    except Unreadable:
        return Sealed.UNREADABLE, value
    return (Sealed.NEWEST if resealed == value else Sealed.OLDER), resealed
