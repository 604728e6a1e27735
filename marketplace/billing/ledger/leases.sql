-- Leases: a router takes a part of a purse (budgets.sql) and spends it without asking. A lease
-- belongs to one life of a router.

-- The search path of SECURITY DEFINER functions (FROM CURRENT): no caller's table replaces ours.
SELECT set_config('search_path', format('%I, pg_temp', current_schema()), true);

-- The amount that a lease holds.
CREATE FUNCTION billing_lease_rest(l billing_lease) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
  SELECT CASE WHEN l.state = 'open' THEN l.amount_nano - l.spent_nano ELSE 0 END
$$;

-- Update the account and its budgets when a lease changes.
CREATE FUNCTION billing_lease_moved() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  v_held bigint := billing_lease_rest(NEW);
  v_spent bigint := NEW.spent_nano;
BEGIN
  IF TG_OP = 'UPDATE' THEN
    v_held := v_held - billing_lease_rest(OLD);
    v_spent := v_spent - OLD.spent_nano;
  END IF;
  IF v_held <> 0 THEN
    UPDATE billing_account SET held_nano = held_nano + v_held WHERE id = NEW.account_id;
  END IF;
  IF (v_held <> 0 OR v_spent <> 0) AND cardinality(NEW.budgets) > 0 THEN
    UPDATE billing_budget SET held_nano = held_nano + v_held, spent_nano = spent_nano + v_spent
      WHERE id = ANY (NEW.budgets);
  END IF;
  RETURN NULL;
END
$$;
CREATE TRIGGER billing_lease_moved AFTER INSERT OR UPDATE ON billing_lease
  FOR EACH ROW EXECUTE FUNCTION billing_lease_moved();

-- Take a lease; without one, return the part of the purse with the least left. A need of 0 takes
-- what there is, without asking other routers for what they do not use.
CREATE FUNCTION billing_lease_take(
  p_lease_id uuid, p_router_id text, p_life text, p_account_id bigint, p_budgets bigint[],
  p_need_nano bigint, p_want_nano bigint, p_ttl_s float8
) RETURNS TABLE (
  amount_nano bigint, expires_at timestamptz, budget_id bigint, left_nano bigint,
  leased_nano bigint)
LANGUAGE plpgsql SECURITY DEFINER SET waypost.ledger = 'on' SET search_path FROM CURRENT AS $$
#variable_conflict use_column
DECLARE
  v_least record;
  v_routers bigint;
BEGIN
  IF p_need_nano < 0 OR p_want_nano < p_need_nano OR p_ttl_s <= 0 THEN
    RAISE EXCEPTION 'a lease needs 0 <= need <= want and a positive ttl, got %, %, % s',
      p_need_nano, p_want_nano, p_ttl_s;
  END IF;
  PERFORM 1 FROM billing_account WHERE id = p_account_id AND kind = 'customer' FOR UPDATE;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'billing account % is not a customer account', p_account_id;
  END IF;
  PERFORM billing_budgets_roll(p_budgets);
  SELECT * INTO v_least FROM billing_purse_parts(p_account_id, p_budgets)
    ORDER BY left_nano, budget_id LIMIT 1;
  IF v_least.left_nano < greatest(p_need_nano, 1) THEN
    IF p_need_nano > 0 THEN
      PERFORM pg_notify('waypost_recall', p_account_id::text);
    END IF;
    RETURN QUERY
      SELECT 0::bigint, NULL::timestamptz, v_least.budget_id, v_least.left_nano,
             v_least.leased_nano;
    RETURN;
  END IF;
  SELECT greatest(count(*), 1) INTO v_routers
    FROM routing_router AS r WHERE r.expires_at > clock_timestamp();
  RETURN QUERY
    INSERT INTO billing_lease (
      id, router_id, life, account_id, budgets, amount_nano, spent_nano, state, created_at,
      expires_at)
    VALUES (
      p_lease_id, p_router_id, p_life, p_account_id, p_budgets,
      least(p_want_nano, v_least.left_nano,
            -- An even part of all there is, not of what the others left.
            greatest(p_need_nano, (v_least.left_nano + v_least.leased_nano) / v_routers, 1)),
      0, 'open', clock_timestamp(), clock_timestamp() + make_interval(secs => p_ttl_s))
    RETURNING amount_nano, expires_at, v_least.budget_id, v_least.left_nano, v_least.leased_nano;
END
$$;

-- Grow an open lease for a running stream, or return why not. As for a new lease, it gets more than
-- the need only up to an even part among the routers; if funds lack, every router is asked for what
-- it does not use.
CREATE FUNCTION billing_lease_grow(p_lease_id uuid, p_need_nano bigint, p_want_nano bigint)
RETURNS TABLE (more_nano bigint, budget_id bigint, left_nano bigint, leased_nano bigint)
LANGUAGE plpgsql SECURITY DEFINER SET waypost.ledger = 'on' SET search_path FROM CURRENT AS $$
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

CREATE FUNCTION billing_lease_extend(p_lease_id uuid, p_ttl_s float8) RETURNS timestamptz
LANGUAGE sql SECURITY DEFINER SET waypost.ledger = 'on' SET search_path FROM CURRENT AS $$
  UPDATE billing_lease SET expires_at = clock_timestamp() + make_interval(secs => p_ttl_s)
    WHERE id = p_lease_id AND state = 'open' RETURNING expires_at
$$;

-- Reduce a lease to an amount, but never below what was spent.
CREATE FUNCTION billing_lease_shrink(p_lease_id uuid, p_amount_nano bigint) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET waypost.ledger = 'on' SET search_path FROM CURRENT AS $$
BEGIN
  PERFORM billing_lease_lock(p_lease_id);
  UPDATE billing_lease SET amount_nano = greatest(p_amount_nano, spent_nano)
    WHERE id = p_lease_id AND state = 'open' AND amount_nano > p_amount_nano;
END
$$;

-- Close a lease; returns the unspent amount.
CREATE FUNCTION billing_lease_close(p_lease_id uuid) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET waypost.ledger = 'on' SET search_path FROM CURRENT AS $$
DECLARE
  v_rest bigint;
BEGIN
  PERFORM billing_lease_lock(p_lease_id);
  UPDATE billing_lease SET state = 'closed' WHERE id = p_lease_id AND state = 'open'
    RETURNING amount_nano - spent_nano INTO v_rest;
  RETURN coalesce(v_rest, 0);
END
$$;

-- Close the leases of a router's other lives; all of its leases for a life of ''.
CREATE FUNCTION billing_lease_close_earlier(p_router_id text, p_life text) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
  v_lease uuid;
  v_released bigint := 0;
BEGIN
  FOR v_lease IN
    SELECT id FROM billing_lease
    WHERE router_id = p_router_id AND life <> p_life AND state = 'open' ORDER BY account_id, id
  LOOP
    v_released := v_released + billing_lease_close(v_lease);
  END LOOP;
  RETURN v_released;
END
$$;

-- Lock a lease by locking its account.
CREATE FUNCTION billing_lease_lock(p_lease_id uuid) RETURNS void LANGUAGE sql AS $$
  SELECT 1 FROM billing_account
    WHERE id = (SELECT account_id FROM billing_lease WHERE id = p_lease_id) FOR UPDATE;
$$;

-- The amount in open leases on an account, or on one of its budgets (0 is the account itself), that
-- no running router will give back. Each life of a router has an advisory lock while it is
-- connected. The asking life counts as running, whatever its connection.
CREATE FUNCTION billing_lease_stranded(p_account_id bigint, p_budget_id bigint, p_life text)
RETURNS bigint LANGUAGE sql AS $$
  SELECT coalesce(sum(billing_lease_rest(l)), 0)::bigint FROM billing_lease l
  WHERE l.account_id = p_account_id AND l.state = 'open' AND l.life <> p_life
    AND (p_budget_id = 0 OR p_budget_id = ANY (l.budgets))
    AND NOT EXISTS (
      SELECT FROM pg_locks AS held
      WHERE held.locktype = 'advisory' AND held.granted AND held.objsubid = 2
        AND held.database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND held.classid::bigint = hashtext('waypost_life')::bigint & 4294967295
        AND held.objid::bigint = hashtext(l.life)::bigint & 4294967295)
$$;

-- Guards, also of write-offs of a router's leases --------------------------------------------------

CREATE TRIGGER billing_lease_writer BEFORE INSERT OR UPDATE OR DELETE ON billing_lease
  FOR EACH ROW EXECUTE FUNCTION billing_guard_writer();
CREATE TRIGGER billing_lease_no_delete BEFORE DELETE ON billing_lease
  FOR EACH STATEMENT EXECUTE FUNCTION billing_refuse();
CREATE TRIGGER billing_lease_no_truncate BEFORE TRUNCATE ON billing_lease
  FOR EACH STATEMENT EXECUTE FUNCTION billing_refuse();

CREATE TRIGGER billing_writeoff_immutable BEFORE UPDATE OR DELETE ON billing_writeoff
  FOR EACH ROW EXECUTE FUNCTION billing_refuse();
CREATE TRIGGER billing_writeoff_no_truncate BEFORE TRUNCATE ON billing_writeoff
  FOR EACH STATEMENT EXECUTE FUNCTION billing_refuse();
