"""Proves payments against the ledger: each moved exactly its money, and nothing else did.

Each query finds one kind of gap and returns texts, as in ``marketplace.billing.proof.ledger``.
"""

from marketplace.billing.payments.books.money import NANO_PER_CENT

PAYMENT_PROOFS = (
    # A received payment has its top-up, and no other payment has one.
    f"""
    SELECT 'payment ' || p.id || ' is ' || p.state || ' over ' || p.amount_cents
           || ' cents, its top-ups sum to ' || coalesce(m.amount, 0) || ' nano'
    FROM billing_payment p LEFT JOIN (
      SELECT l.payment_id, sum(t.amount_nano) AS amount
      FROM billing_paymenttransfer l JOIN billing_transfer t ON t.id = l.transfer_id
      WHERE t.kind = 'topup' GROUP BY l.payment_id) m ON m.payment_id = p.id
    WHERE coalesce(m.amount, 0)
      <> CASE WHEN p.state = 'succeeded' THEN p.amount_cents * {NANO_PER_CENT} ELSE 0 END
    """,  # noqa: S608
    # The transfers of a refund or dispute sum to what is still out.
    *(
        f"""
        SELECT '{name} ' || x.id || ' is ' || x.state || ' over ' || x.amount_cents
               || ' cents, its transfers sum to ' || coalesce(m.amount, 0) || ' nano'
        FROM billing_{name} x LEFT JOIN (
          SELECT l.{name}_id AS id,
                 sum(CASE WHEN t.kind = '{name}' THEN t.amount_nano ELSE -t.amount_nano END)
                   AS amount
          FROM billing_paymenttransfer l JOIN billing_transfer t ON t.id = l.transfer_id
          WHERE l.{name}_id IS NOT NULL GROUP BY 1) m ON m.id = x.id
        WHERE coalesce(m.amount, 0)
          <> CASE WHEN x.state IN {out} THEN x.amount_cents * {NANO_PER_CENT} ELSE 0 END
        """  # noqa: S608
        for name, out in (
            ("refund", "('pending', 'succeeded')"),
            ("dispute", "('open', 'lost')"),
        )
    ),
    # Only payments move cash.
    """
    SELECT 'transfer ' || t.id || ' (' || t.kind || ') moved cash for no payment'
    FROM billing_account cash
    JOIN billing_transfer t ON cash.id IN (t.debit_id, t.credit_id)
    LEFT JOIN billing_paymenttransfer l ON l.transfer_id = t.id
    WHERE cash.kind = 'cash' AND l.transfer_id IS NULL
    """,
)
