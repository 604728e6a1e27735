-- Leases: a router takes a slice of an account's credit and spends it without asking.
-- Lock order everywhere: accounts by id, then leases by id.

CREATE FUNCTION billing_lease_take(
  p_router_id text, p_account_id bigint, p_need_nano bigint, p_want_nano bigint, p_ttl_s integer
) RETURNS TABLE (lease_id uuid, amount_nano bigint, expires_at timestamptz)
LANGUAGE plpgsql SET waypost.ledger = 'on' AS $$
#variable_conflict use_column
DECLARE
  v_available bigint;
  v_amount bigint;
BEGIN
  IF p_need_nano < 0 OR p_want_nano < p_need_nano OR p_ttl_s <= 0 THEN
    RAISE EXCEPTION 'a lease needs 0 <= need <= want and a positive ttl, got %, %, % s',
      p_need_nano, p_want_nano, p_ttl_s;
  END IF;
  SELECT posted_nano - held_nano INTO v_available FROM billing_account
    WHERE id = p_account_id AND kind = 'customer' FOR UPDATE;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'billing account % is not a customer account', p_account_id;
  END IF;
  IF v_available < p_need_nano THEN
    RETURN;
  END IF;
  v_amount := least(p_want_nano, v_available);
  UPDATE billing_account SET held_nano = held_nano + v_amount WHERE id = p_account_id;
  RETURN QUERY
    INSERT INTO billing_lease
      (id, router_id, account_id, amount_nano, spent_nano, state, created_at, expires_at)
    VALUES (gen_random_uuid(), p_router_id, p_account_id, v_amount, 0, 'open',
            clock_timestamp(), clock_timestamp() + make_interval(secs => p_ttl_s))
    RETURNING id, amount_nano, expires_at;
END
$$;

CREATE FUNCTION billing_lease_extend(p_lease_id uuid, p_ttl_s integer) RETURNS timestamptz
LANGUAGE plpgsql SET waypost.ledger = 'on' AS $$
DECLARE
  v_expires timestamptz;
BEGIN
  UPDATE billing_lease SET expires_at = clock_timestamp() + make_interval(secs => p_ttl_s)
    WHERE id = p_lease_id AND state = 'open' RETURNING expires_at INTO v_expires;
  RETURN v_expires;
END
$$;

CREATE FUNCTION billing_lease_close(p_lease_id uuid) RETURNS bigint
LANGUAGE plpgsql SET waypost.ledger = 'on' AS $$
DECLARE
  v_account bigint;
  v_rest bigint;
BEGIN
  SELECT account_id INTO v_account FROM billing_lease WHERE id = p_lease_id;
  PERFORM 1 FROM billing_account WHERE id = v_account FOR UPDATE;
  UPDATE billing_lease SET state = 'closed' WHERE id = p_lease_id AND state = 'open'
    RETURNING amount_nano - spent_nano INTO v_rest;
  IF NOT FOUND THEN
    RETURN 0;
  END IF;
  UPDATE billing_account SET held_nano = held_nano - v_rest WHERE id = v_account;
  RETURN v_rest;
END
$$;

CREATE FUNCTION billing_lease_close_all(p_router_id text) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
  v_lease uuid;
  v_released bigint := 0;
BEGIN
  FOR v_lease IN
    SELECT id FROM billing_lease WHERE router_id = p_router_id AND state = 'open'
    ORDER BY account_id, id
  LOOP
    v_released := v_released + billing_lease_close(v_lease);
  END LOOP;
  RETURN v_released;
END
$$;
