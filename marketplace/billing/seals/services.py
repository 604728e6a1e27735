"""Seals what cannot change any more, and signs it."""

import hmac
import logging

from django.conf import settings
from django.db import OperationalError, connection, transaction
from django.utils.crypto import salted_hmac

from marketplace.billing.seals.models import Seal

ROWS_MAX = 100_000
"""Transfers of one seal: their text is held in memory for the digest, about 15 MB."""
SEALS_A_RUN = 100

log = logging.getLogger(__name__)


def transfers_seal(*, rows_max: int = ROWS_MAX, seals_max: int = SEALS_A_RUN) -> int:
    """Seal all transfers that are there; returns how many. Writers wait for a moment.

    Seals none while the table is locked or a proof runs: the next run does.
    """
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT billing_seals_horizon()")
            ((horizon,),) = cursor.fetchall()
    except OperationalError as error:
        log.warning("nothing is sealed now: %s", error)
        return 0
    sealed = 0
    for _ in range(seals_max):
        with transaction.atomic():
            made = list(
                Seal.objects.raw("SELECT * FROM billing_seal_make(%s, %s)", [horizon, rows_max])
            )
            for seal in made:
                seal_sign(seal=seal)
        if not made:
            break
        sealed += made[0].transfers
    return sealed


def seal_sign(*, seal: Seal) -> None:
    """Sign a seal with this installation's key."""
    with connection.cursor() as cursor:
        signature = signature_of(seal, settings.SECRET_KEY)
        cursor.execute("SELECT billing_seal_sign(%s, %s)", [seal.pk, signature])


def is_signed(seal: Seal) -> bool:
    """Whether a seal was signed with this installation's key, or one that it replaced."""
    return any(
        hmac.compare_digest(signature_of(seal, key), bytes(seal.signature))
        for key in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)
    )


def signature_of(seal: Seal, key: str | bytes) -> bytes:
    """HMAC-SHA-256 over all that a seal says."""
    said = f"{seal.pk} {seal.through} {seal.transfers} {seal.digest.hex()} {seal.sums.hex()}"
    return salted_hmac("marketplace.billing.seals", said, secret=key, algorithm="sha256").digest()
