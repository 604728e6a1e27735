SELECT set_config('search_path', format('%I, pg_temp', current_schema()), true);

CREATE OR REPLACE FUNCTION billing_budget_begin(p_budget bigint) RETURNS void
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
