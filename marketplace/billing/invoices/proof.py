"""Invariants between statements and transfers: each query finds gaps and returns texts."""

STATEMENT_PROOFS = (
    # Opening and closing balances are the sums of the account's transfers at those times.
    """
    SELECT 'statement ' || s.number || ' goes from ' || s.opening_nano || ' to ' || s.closing_nano
           || ' nano, its account''s transfers from ' || coalesce(closing - amount, 0) || ' to '
           || coalesce(closing, 0)
    FROM billing_statement s LEFT JOIN (
      SELECT id, month, sum(amount) AS amount,
             sum(sum(amount)) OVER (PARTITION BY id ORDER BY month) AS closing
      FROM (
        SELECT account_id AS id, amount_nano AS amount, month
        FROM billing_sealedsum WHERE %(sealed)s > 0
        UNION ALL
        SELECT credit_id, amount_nano, date_trunc('month', created_at AT TIME ZONE 'UTC')::date
        FROM billing_transfer WHERE id > %(sealed)s
        UNION ALL
        SELECT debit_id, -amount_nano, date_trunc('month', created_at AT TIME ZONE 'UTC')::date
        FROM billing_transfer WHERE id > %(sealed)s) side GROUP BY id, month) m
    ON m.id = s.account_id AND m.month = s.period
    WHERE (s.opening_nano, s.closing_nano) IS DISTINCT FROM (closing - amount, closing)
    """,
    # The lines sum to the difference of the balances.
    """
    SELECT 'statement ' || number || ' moves ' || closing_nano - opening_nano
           || ' nano, its lines sum to ' || amount
    FROM (SELECT number, opening_nano, closing_nano, (
            SELECT coalesce(sum((line ->> 'amount_nano')::bigint), 0)
            FROM jsonb_array_elements(lines) line) AS amount
          FROM billing_statement) s
    WHERE amount <> closing_nano - opening_nano
    """,
    # Numbers count from 1 in each series, without gaps.
    """
    SELECT 'statements of ' || kind || ' ' || year || ' count ' || count(*) || ', their last is '
           || max(sequence)
    FROM billing_statement GROUP BY kind, year
    HAVING count(*) <> max(sequence) OR min(sequence) <> 1
    """,
)
