-- An organisation that owes has nothing left: no router is given a lease, and its calls are refused
-- as without credit (402). The customer account's lock orders this with whoever is posting the debt.
CREATE OR REPLACE FUNCTION billing_purse_parts(p_account_id bigint, p_budgets bigint[])
RETURNS TABLE (budget_id bigint, left_nano bigint, leased_nano bigint) LANGUAGE sql AS $$
  SELECT 0::bigint, CASE WHEN owes THEN 0 ELSE posted_nano - held_nano END,
         CASE WHEN owes THEN 0 ELSE held_nano END
    FROM (
      SELECT a.*, EXISTS (
        SELECT FROM billing_account d
        WHERE d.debtor_id = a.organisation_id AND d.posted_nano < 0) AS owes
      FROM billing_account a WHERE a.id = p_account_id
    ) AS account
  UNION ALL
  SELECT id, limit_nano - spent_nano - held_nano, held_nano
    FROM billing_budget WHERE id = ANY (p_budgets)
$$;
