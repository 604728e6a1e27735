-- More of its purse for an open lease, or why there is none: what a stream that runs needs. As for a
-- new one (billing_lease_take), more than the need only up to an even part among the routers, and
-- when funds lack every router is asked for what it does not use.
CREATE FUNCTION billing_lease_grow(p_lease_id uuid, p_need_nano bigint, p_want_nano bigint)
RETURNS TABLE (more_nano bigint, budget_id bigint, left_nano bigint, leased_nano bigint)
LANGUAGE plpgsql SET waypost.ledger = 'on' AS $$
#variable_conflict use_column
DECLARE
  v_lease billing_lease%ROWTYPE;
  v_least record;
  v_routers bigint;
  v_more bigint;
BEGIN
  IF p_need_nano <= 0 OR p_want_nano < p_need_nano THEN
    RAISE EXCEPTION 'a lease grows by 0 < need <= want, got %, %', p_need_nano, p_want_nano;
  END IF;
  PERFORM billing_lease_lock(p_lease_id);
  SELECT * INTO v_lease FROM billing_lease WHERE id = p_lease_id AND state = 'open';
  IF NOT FOUND THEN
    RETURN QUERY SELECT 0::bigint, 0::bigint, 0::bigint, 0::bigint;
    RETURN;
  END IF;
  PERFORM billing_budgets_roll(v_lease.budgets);
  SELECT * INTO v_least FROM billing_purse_parts(v_lease.account_id, v_lease.budgets)
    ORDER BY left_nano, budget_id LIMIT 1;
  IF v_least.left_nano < p_need_nano THEN
    PERFORM pg_notify('waypost_recall', v_lease.account_id::text);
    RETURN QUERY SELECT 0::bigint, v_least.budget_id, v_least.left_nano, v_least.leased_nano;
    RETURN;
  END IF;
  SELECT greatest(count(*), 1) INTO v_routers
    FROM routing_router AS r WHERE r.expires_at > clock_timestamp();
  v_more := least(p_want_nano, v_least.left_nano,
                  greatest(p_need_nano,
                           (v_least.left_nano + v_least.leased_nano) / v_routers
                           - billing_lease_rest(v_lease)));
  UPDATE billing_lease SET amount_nano = amount_nano + v_more WHERE id = p_lease_id;
  RETURN QUERY SELECT v_more, v_least.budget_id, v_least.left_nano, v_least.leased_nano;
END
$$;
