"""Proves seals: the last one in each proof, all of them in a proof from the beginning."""

from django.db import connection

from marketplace.billing.seals.models import Seal
from marketplace.billing.seals.services import is_signed

_SUMS = """
SELECT 'sealed sums of account ' || account_id || ', ' || to_char(month, 'YYYY-MM') || ' differ by '
       || sum(amount) || ' nano from its transfers'
FROM (
  SELECT account_id, month, -amount_nano AS amount FROM billing_sealedsum
  UNION ALL
  SELECT credit_id, date_trunc('month', created_at AT TIME ZONE 'UTC')::date, amount_nano
  FROM billing_transfer WHERE id <= %(through)s
  UNION ALL
  SELECT debit_id, date_trunc('month', created_at AT TIME ZONE 'UTC')::date, -amount_nano
  FROM billing_transfer WHERE id <= %(through)s) side
GROUP BY account_id, month HAVING sum(amount) <> 0 LIMIT 100
"""


def last_seal_gaps(seal: Seal) -> list[str]:
    """The last seal is signed, and the sums are those that it saw."""
    gaps = [] if is_signed(seal) else [unsigned(seal)]
    with connection.cursor() as cursor:
        cursor.execute("SELECT billing_seal_sums()")
        ((sums,),) = cursor.fetchall()
    if bytes(sums) != bytes(seal.sums):
        gaps.append(f"the sums of sealed transfers are not those that seal {seal.pk} saw")
    return gaps


def unsigned(seal: Seal) -> str:
    """What is said of a seal without our signature."""
    return (
        f"seal {seal.pk} is not signed with this installation's key: it was forged, or "
        "DJANGO_SECRET_KEY changed (manage.py ledger sign)"
    )


def chain_gaps() -> list[str]:
    """Every seal follows from its transfers and the seal before it."""
    gaps = []
    before, after = b"", 0
    with connection.cursor() as cursor:
        for seal in Seal.objects.order_by("through").iterator():
            cursor.execute("SELECT billing_seal_digest(%s, %s, %s)", [before, after, seal.through])
            ((digest,),) = cursor.fetchall()
            if bytes(digest) != bytes(seal.digest):
                gaps.append(
                    f"transfers {after + 1} to {seal.through} are not those of seal {seal.pk}, "
                    f"made {seal.created_at:%Y-%m-%d %H:%M}"
                )
            before, after = bytes(seal.digest), seal.through
        cursor.execute(_SUMS, {"through": after})
        gaps += [str(text) for (text,) in cursor.fetchall()]
    return gaps
