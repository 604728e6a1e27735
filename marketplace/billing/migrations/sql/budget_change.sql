-- Another limit or window of a budget, under its account's lock. What was spent stays: it is forgotten
-- when the new window ends. What a lower limit no longer covers is asked back from the routers.
CREATE FUNCTION billing_budget_change(p_budget bigint, p_limit_nano bigint, p_window text)
RETURNS void LANGUAGE plpgsql SET waypost.ledger = 'on' AS $$
DECLARE
  v_account bigint;
BEGIN
  SELECT a.id INTO STRICT v_account
    FROM billing_account a JOIN billing_budget b ON b.organisation_id = a.organisation_id
    WHERE b.id = p_budget FOR UPDATE OF a;
  PERFORM billing_budgets_roll(ARRAY[p_budget]);
  UPDATE billing_budget
    SET limit_nano = p_limit_nano, "window" = p_window,
        window_starts_at = CASE WHEN "window" = p_window THEN window_starts_at
                                ELSE clock_timestamp() END
    WHERE id = p_budget;
  PERFORM pg_notify('waypost_recall', v_account::text);
END
$$;
