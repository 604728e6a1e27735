-- Budgets: limits on what an organisation, a key or a person spends in a window. An account and the
-- budgets that apply are a purse; leases are taken from it.

-- The search path of SECURITY DEFINER functions (FROM CURRENT): no caller's table replaces ours.
SELECT set_config('search_path', format('%I, pg_temp', current_schema()), true);

-- The parts of a purse: the account, as budget 0, and the budgets that apply. An organisation with
-- a debt has nothing left: routers get no lease, and its calls are refused as without credit (402).
-- The customer account's lock orders this with the posting of the debt.
CREATE FUNCTION billing_purse_parts(p_account_id bigint, p_budgets bigint[])
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

-- Begin a new window with nothing spent. The amounts of open leases stay held.
CREATE FUNCTION billing_budgets_roll(p_budgets bigint[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  UPDATE billing_budget
    SET spent_nano = 0, before_nano = 0,
        window_starts_at = date_trunc("window", clock_timestamp(), 'UTC')
    WHERE id = ANY (p_budgets) AND "window" <> 'ever'
      AND window_starts_at < date_trunc("window", clock_timestamp(), 'UTC');
END
$$;

-- Add to a new budget the cost of earlier calls in its window. Call it right after the insert,
-- under the account's lock. A budget without a window counts from now. spent_nano begins with
-- before_nano, which no lease of the budget explains; both are reset when the window ends.
-- A call by key has no user in its record: it counts for the member who made the key.
CREATE FUNCTION billing_budget_begin(p_budget bigint) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET waypost.ledger = 'on' SET search_path FROM CURRENT AS $$
DECLARE
  v_before bigint;
BEGIN
  SELECT coalesce(sum(r.charge_nano), 0) INTO v_before
  FROM billing_budget b JOIN usage_caller_rollup r ON r.organisation_id = b.organisation_id
  WHERE b.id = p_budget AND b."window" <> 'ever'
    AND r.starts_at >= date_trunc(b."window", clock_timestamp(), 'UTC')
    AND (b.key_id IS NULL OR r.key_id = b.key_id)
    AND (b.user_id IS NULL OR r.user_id = b.user_id OR r.key_id IN (
      SELECT k.id FROM accounts_apikey k WHERE k.created_by_id = b.user_id));
  UPDATE billing_budget
    SET spent_nano = v_before, before_nano = v_before,
        window_starts_at = CASE WHEN "window" = 'ever' THEN window_starts_at
                                ELSE date_trunc("window", clock_timestamp(), 'UTC') END
    WHERE id = p_budget AND spent_nano = 0 AND held_nano = 0 AND before_nano = 0;
END
$$;

-- Change limit or window, under the account's lock. What was spent stays until the new window ends.
-- Routers are asked to give back what a lower limit no longer covers.
CREATE FUNCTION billing_budget_change(p_budget bigint, p_limit_nano bigint, p_window text)
RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET waypost.ledger = 'on' SET search_path FROM CURRENT AS $$
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

CREATE FUNCTION billing_guard_budget() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'INSERT' THEN
    IF NEW.spent_nano <> 0 OR NEW.held_nano <> 0 OR NEW.before_nano <> 0 THEN
      RAISE EXCEPTION 'a budget starts unspent';
    END IF;
  ELSIF (NEW.spent_nano, NEW.held_nano, NEW.before_nano, NEW.window_starts_at)
        IS DISTINCT FROM (OLD.spent_nano, OLD.held_nano, OLD.before_nano, OLD.window_starts_at)
        AND NOT billing_ledger_is_open() THEN
    RAISE EXCEPTION 'what budget % has spent and holds changes only by leases', OLD.id;
  END IF;
  RETURN NEW;
END
$$;
CREATE TRIGGER billing_budget_guard BEFORE INSERT OR UPDATE ON billing_budget
  FOR EACH ROW EXECUTE FUNCTION billing_guard_budget();
