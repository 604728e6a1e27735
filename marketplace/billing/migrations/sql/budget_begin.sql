-- A new budget knows what its window has seen. spent_nano begins with before_nano, which no lease of
-- the budget explains; both are forgotten when the window is over.

CREATE OR REPLACE FUNCTION billing_guard_budget() RETURNS trigger LANGUAGE plpgsql AS $$
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

CREATE OR REPLACE FUNCTION billing_budgets_roll(p_budgets bigint[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  UPDATE billing_budget
    SET spent_nano = 0, before_nano = 0,
        window_starts_at = date_trunc("window", clock_timestamp(), 'UTC')
    WHERE id = ANY (p_budgets) AND "window" <> 'ever'
      AND window_starts_at < date_trunc("window", clock_timestamp(), 'UTC');
END
$$;

-- Under its account's lock, right after it was made: what calls of its window cost before. One that
-- never begins again counts from now on.
CREATE FUNCTION billing_budget_begin(p_budget bigint) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET waypost.ledger = 'on' AS $$
DECLARE
  v_before bigint;
BEGIN
  SELECT coalesce(sum(r.charge_nano), 0) INTO v_before
  FROM billing_budget b JOIN usage_caller_rollup r ON r.organisation_id = b.organisation_id
  WHERE b.id = p_budget AND b."window" <> 'ever'
    AND r.starts_at >= date_trunc(b."window", clock_timestamp(), 'UTC')
    AND (b.key_id IS NULL OR r.key_id = b.key_id)
    AND (b.user_id IS NULL OR r.user_id = b.user_id);
  UPDATE billing_budget
    SET spent_nano = v_before, before_nano = v_before,
        window_starts_at = CASE WHEN "window" = 'ever' THEN window_starts_at
                                ELSE date_trunc("window", clock_timestamp(), 'UTC') END
    WHERE id = p_budget AND spent_nano = 0 AND held_nano = 0 AND before_nano = 0;
END
$$;
DO $$
BEGIN
  EXECUTE format(
    'ALTER FUNCTION billing_budget_begin(bigint) SET search_path = %I, pg_temp', current_schema());
END
$$;
