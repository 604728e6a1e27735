"""Every transfer must have a cause: each query finds transfers without one and returns texts.

The cause of a charge is a call; of money from outside, a payment; of a grant, payout, write-off or
reversal, an order with a name. Rows of causes are keyed by transfer, so none serves for two.
"""

# The ledger's own proof compares calls with their transfers; these are the other causes.
_CHARGES = "('charge_provider', 'charge_commission')"
_OF_NO_CALL = f"NOT (t.kind IN {_CHARGES} AND t.request_id IS NOT NULL)"
_NAMED = "'transfer ' || t.id || ' (' || t.kind || ', ' || t.amount_nano || ' nano) '"
_PAID = "('topup', 'refund', 'refund_return', 'dispute', 'dispute_return')"
_ORDERED = "('grant', 'payout', 'write_off', 'reversal')"

CAUSE_PROOFS = (
    f"""
    SELECT named || fault
    FROM (
      SELECT {_NAMED} AS named, CASE
        WHEN d.id IS NULL OR c.id IS NULL THEN 'names an account that does not exist'
        WHEN NOT billing_transfer_fits(t.kind, d.kind, c.kind)
          THEN 'goes from a ' || d.kind || ' to a ' || c.kind || ' account'
        WHEN t.kind IN {_CHARGES} THEN 'charges no call'
        WHEN t.kind IN {_PAID} AND paid.transfer_id IS NULL THEN 'has no payment'
        WHEN t.kind IN {_PAID} AND p.organisation_id IS DISTINCT FROM whose.id
          THEN 'has the payment of another organisation'
        WHEN t.kind IN ('refund', 'refund_return') AND paid.refund_id IS NULL THEN 'has no refund'
        WHEN t.kind IN ('dispute', 'dispute_return') AND paid.dispute_id IS NULL
          THEN 'has no dispute'
        WHEN t.kind IN {_ORDERED} AND staff.transfer_id IS NULL AND rule.transfer_id IS NULL
          AND trial.transfer_id IS NULL THEN 'has no order with a name'
        WHEN t.kind IN ('grant', 'write_off')
          AND coalesce(staff.organisation_id, trial.organisation_id, whose.id)
            IS DISTINCT FROM whose.id
          THEN 'has the order of another organisation'
        WHEN t.kind = 'debt_payment' AND c.debtor_id IS DISTINCT FROM d.organisation_id
          THEN 'pays the debt of another organisation'
        WHEN t.kind = 'reversal' AND (was.debit_id, was.credit_id, was.amount_nano)
          IS DISTINCT FROM (t.credit_id, t.debit_id, t.amount_nano)
          THEN 'is not a transfer the other way'
        END AS fault
      FROM billing_transfer t
      LEFT JOIN billing_account d ON d.id = t.debit_id
      LEFT JOIN billing_account c ON c.id = t.credit_id
      CROSS JOIN LATERAL (SELECT coalesce(
        c.organisation_id, c.debtor_id, d.organisation_id, d.debtor_id) AS id) AS whose
      LEFT JOIN billing_paymenttransfer paid ON paid.transfer_id = t.id
      LEFT JOIN billing_payment p ON p.id = paid.payment_id
      LEFT JOIN billing_stafftransfer staff ON staff.transfer_id = t.id
      LEFT JOIN billing_systemorder rule ON rule.transfer_id = t.id
      LEFT JOIN billing_trialgrant trial ON trial.transfer_id = t.id
      LEFT JOIN billing_transfer was
        ON t.kind = 'reversal' AND was.id = billing_reversal_of(t.idem_key)
      WHERE {_OF_NO_CALL}) AS looked_at
    WHERE fault IS NOT NULL
    """,  # noqa: S608
    # A cover pays calls of its account that settle with it after their leases closed, at most their
    # cost. All transfers of one settlement have the same time.
    f"""
    SELECT {_NAMED} || 'is for late calls of ' || coalesce(late.nano, 0) || ' nano'
    FROM billing_transfer t
    LEFT JOIN LATERAL (
      SELECT sum(e.charge_nano) FILTER (WHERE l.state = 'closed') AS nano,
             bool_or(e.request_id = t.request_id AND l.state = 'closed') AS is_named
      FROM (
        SELECT DISTINCT made.request_id
        FROM billing_transfer first_part
        JOIN billing_transfer made ON made.created_at = first_part.created_at
          AND made.debit_id = t.credit_id AND made.kind IN {_CHARGES}
        WHERE first_part.request_id = t.request_id AND first_part.debit_id = t.credit_id
          AND first_part.kind IN {_CHARGES}) AS batch
      JOIN usage_event e ON e.request_id = batch.request_id
      JOIN billing_lease l ON l.id = e.lease_id) AS late ON true
    WHERE t.kind = 'cover'
      AND NOT (coalesce(late.is_named, false) AND t.amount_nano <= late.nano)
      -- Of calls that were taken out nobody can tell any more.
      AND (t.request_id IS NULL OR t.request_id >= usage_uuid7_floor(%(kept)s)
           OR t.created_at > (SELECT max(created_at) FROM usage_detachment))
    """,  # noqa: S608
    # Charges of these days for calls of earlier days. Detached calls were charged before.
    f"""
    SELECT {_NAMED} || 'charges no call'
    FROM billing_transfer t LEFT JOIN usage_event e ON e.request_id = t.request_id
    WHERE t.created_at >= %(since)s AND t.request_id < usage_uuid7_floor(%(since)s)
      AND t.kind IN {_CHARGES} AND e.request_id IS NULL
      AND (t.request_id >= usage_uuid7_floor(%(kept)s)
           OR t.created_at > (SELECT max(created_at) FROM usage_detachment))
    """,  # noqa: S608
    # Statements of a month are issued within a week of its end, and contain its payouts.
    f"""
    SELECT {_NAMED} || 'is in no statement: manage.py invoices issue --period '
           || to_char(t.created_at AT TIME ZONE 'UTC', 'YYYY-MM')
    FROM billing_transfer t
    LEFT JOIN billing_statement s ON s.account_id = t.debit_id
      AND s.period = date_trunc('month', t.created_at AT TIME ZONE 'UTC')::date
    WHERE t.kind = 'payout' AND s.id IS NULL
      AND date_trunc('month', t.created_at, 'UTC') + interval '1 month 7 days' < now()
    """,  # noqa: S608
    # The granted amount is the requested one.
    """
    SELECT 'credit request ' || r.id || ' asked for ' || r.amount_cents || ' cents, its grant is '
           || t.amount_nano || ' nano'
    FROM billing_creditrequest r JOIN billing_transfer t ON t.id = r.order_id
    WHERE t.amount_nano <> r.amount_cents * 10000000
    """,
)
