"""Invariants of budgets: each query finds one kind of gap and returns texts."""

BUDGET_PROOFS = (
    # A budget's held amount is the rest of its open leases.
    """
    SELECT 'budget ' || b.id || ' holds ' || b.held_nano || ' nano, its open leases have '
           || coalesce(l.rest, 0) || ' left'
    FROM billing_budget b LEFT JOIN (
      SELECT budget_id, sum(amount_nano - spent_nano) AS rest
      FROM billing_lease, unnest(budgets) AS budget_id WHERE state = 'open' GROUP BY budget_id) l
    ON l.budget_id = b.id WHERE b.held_nano <> coalesce(l.rest, 0)
    """,
    # The amount spent since the budget began is between what leases of this window spent and what
    # all its leases spent.
    """
    SELECT 'budget ' || b.id || ' has ' || b.spent_nano - b.before_nano
           || ' nano spent, its leases of this window '
           || coalesce(sum(l.spent_nano) FILTER (WHERE l.created_at >= b.window_starts_at), 0)
           || ' and all of them ' || coalesce(sum(l.spent_nano), 0)
    FROM billing_budget b
    LEFT JOIN (billing_lease l CROSS JOIN LATERAL unnest(l.budgets) AS of(budget_id))
      ON of.budget_id = b.id
    GROUP BY b.id
    HAVING b.spent_nano - b.before_nano > coalesce(sum(l.spent_nano), 0)
        OR b.spent_nano - b.before_nano
           < coalesce(sum(l.spent_nano) FILTER (WHERE l.created_at >= b.window_starts_at), 0)
    """,
)
