-- Balances as consequences, and leases within budgets.
--
-- posted_nano moves only by inserting transfers, held_nano and what a budget holds and has spent only
-- by changing leases: triggers do it and refuse to have them written directly. So no balance can be
-- written that its transfers and leases do not explain.
-- Lock order everywhere: accounts by id, then their budgets and leases. A budget belongs to one
-- organisation and is changed only under its account's lock.

CREATE OR REPLACE FUNCTION billing_guard_account() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'INSERT' THEN
    IF NEW.posted_nano <> 0 OR NEW.held_nano <> 0 THEN
      RAISE EXCEPTION 'a billing account starts empty: post a transfer to it';
    END IF;
  ELSIF pg_trigger_depth() < 2 THEN
    RAISE EXCEPTION 'billing_account % changes only by transfers and leases', OLD.id
      USING HINT = 'Use billing_transfer_post; a correction is a reversal.';
  END IF;
  RETURN NEW;
END
$$;

CREATE FUNCTION billing_guard_budget() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'INSERT' THEN
    IF NEW.spent_nano <> 0 OR NEW.held_nano <> 0 THEN
      RAISE EXCEPTION 'a budget starts unspent';
    END IF;
  ELSIF (NEW.spent_nano, NEW.held_nano, NEW.window_starts_at)
        IS DISTINCT FROM (OLD.spent_nano, OLD.held_nano, OLD.window_starts_at)
        AND NOT billing_ledger_is_open() THEN
    RAISE EXCEPTION 'what budget % has spent and holds changes only by leases', OLD.id;
  END IF;
  RETURN NEW;
END
$$;
CREATE TRIGGER billing_budget_guard BEFORE INSERT OR UPDATE ON billing_budget
  FOR EACH ROW EXECUTE FUNCTION billing_guard_budget();

CREATE FUNCTION billing_transfers_made() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  UPDATE billing_account a SET posted_nano = a.posted_nano + moved.nano
  FROM (
    SELECT id, sum(nano)::bigint AS nano
    FROM (SELECT credit_id AS id, amount_nano AS nano FROM made
          UNION ALL SELECT debit_id, -amount_nano FROM made) AS side
    GROUP BY id
  ) AS moved
  WHERE a.id = moved.id AND moved.nano <> 0;
  RETURN NULL;
END
$$;
CREATE TRIGGER billing_transfer_made AFTER INSERT ON billing_transfer
  REFERENCING NEW TABLE AS made FOR EACH STATEMENT EXECUTE FUNCTION billing_transfers_made();

-- What a lease keeps from being spent elsewhere.
CREATE FUNCTION billing_lease_rest(l billing_lease) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
  SELECT CASE WHEN l.state = 'open' THEN l.amount_nano - l.spent_nano ELSE 0 END
$$;

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

CREATE TRIGGER billing_lease_no_delete BEFORE DELETE ON billing_lease
  FOR EACH STATEMENT EXECUTE FUNCTION billing_refuse();
CREATE TRIGGER billing_lease_no_truncate BEFORE TRUNCATE ON billing_lease
  FOR EACH STATEMENT EXECUTE FUNCTION billing_refuse();

-- A window that is over takes what was spent in it along. What open leases hold stays held.
CREATE FUNCTION billing_budgets_roll(p_budgets bigint[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  UPDATE billing_budget
    SET spent_nano = 0, window_starts_at = date_trunc("window", clock_timestamp(), 'UTC')
    WHERE id = ANY (p_budgets) AND "window" <> 'ever'
      AND window_starts_at < date_trunc("window", clock_timestamp(), 'UTC');
END
$$;

-- What a purse consists of: the account, as budget 0, and the budgets that apply.
CREATE FUNCTION billing_purse_parts(p_account_id bigint, p_budgets bigint[])
RETURNS TABLE (budget_id bigint, left_nano bigint, leased_nano bigint) LANGUAGE sql AS $$
  SELECT 0::bigint, posted_nano - held_nano, held_nano FROM billing_account WHERE id = p_account_id
  UNION ALL
  SELECT id, limit_nano - spent_nano - held_nano, held_nano
    FROM billing_budget WHERE id = ANY (p_budgets)
$$;

-- A new lease for one life of a router, or why there is none: the part of the purse that has least
-- left. With a need of 0 it takes what there is, without asking
-- other routers for what they do not use.
CREATE FUNCTION billing_lease_take(
  p_lease_id uuid, p_router_id text, p_life text, p_account_id bigint, p_budgets bigint[],
  p_need_nano bigint, p_want_nano bigint, p_ttl_s float8
) RETURNS TABLE (
  amount_nano bigint, expires_at timestamptz, budget_id bigint, left_nano bigint,
  leased_nano bigint)
LANGUAGE plpgsql SET waypost.ledger = 'on' AS $$
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

CREATE FUNCTION billing_lease_extend(p_lease_id uuid, p_ttl_s float8) RETURNS timestamptz
LANGUAGE sql SET waypost.ledger = 'on' AS $$
  UPDATE billing_lease SET expires_at = clock_timestamp() + make_interval(secs => p_ttl_s)
    WHERE id = p_lease_id AND state = 'open' RETURNING expires_at
$$;

CREATE FUNCTION billing_lease_lock(p_lease_id uuid) RETURNS void LANGUAGE sql AS $$
  SELECT 1 FROM billing_account
    WHERE id = (SELECT account_id FROM billing_lease WHERE id = p_lease_id) FOR UPDATE;
$$;

-- Keep at most so much of a lease, and never less than was spent.
CREATE FUNCTION billing_lease_shrink(p_lease_id uuid, p_amount_nano bigint) RETURNS void
LANGUAGE plpgsql SET waypost.ledger = 'on' AS $$
BEGIN
  PERFORM billing_lease_lock(p_lease_id);
  UPDATE billing_lease SET amount_nano = greatest(p_amount_nano, spent_nano)
    WHERE id = p_lease_id AND state = 'open' AND amount_nano > p_amount_nano;
END
$$;

CREATE FUNCTION billing_lease_close(p_lease_id uuid) RETURNS bigint
LANGUAGE plpgsql SET waypost.ledger = 'on' AS $$
DECLARE
  v_rest bigint;
BEGIN
  PERFORM billing_lease_lock(p_lease_id);
  UPDATE billing_lease SET state = 'closed' WHERE id = p_lease_id AND state = 'open'
    RETURNING amount_nano - spent_nano INTO v_rest;
  RETURN coalesce(v_rest, 0);
END
$$;

-- The leases of a router that this life of it has not taken; all of them for a life of ''.
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

-- Charges against open leases take their money out of what was held.
CREATE FUNCTION billing_settle_spend(p_charged usage_call[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM billing_budgets_roll(ARRAY(
    SELECT DISTINCT unnest(l.budgets) FROM billing_lease l
    WHERE l.id = ANY (ARRAY(SELECT DISTINCT lease_id FROM unnest(p_charged)))));
  UPDATE billing_lease l SET spent_nano = l.spent_nano + s.charge
    FROM (SELECT lease_id, sum(charge_nano)::bigint AS charge
          FROM unnest(p_charged) GROUP BY lease_id) s
    WHERE l.id = s.lease_id AND l.state = 'open';
END
$$;

-- A call whose lease was closed before it could be settled (a router written off) has nothing held
-- for it any more. What its account cannot pay is the platform's expense, on record; the provider is
-- paid in any case.
CREATE FUNCTION billing_settle_cover(p_charged usage_call[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO billing_transfer
    (debit_id, credit_id, amount_nano, idem_key, kind, request_id, created_at)
  SELECT (SELECT id FROM billing_account WHERE kind = 'expense'), due.account_id,
         due.late - greatest(a.posted_nano - a.held_nano - due.in_time, 0),
         'cover:' || due.first_late, 'cover', due.first_late, clock_timestamp()
  FROM (
    SELECT c.account_id,
           coalesce(sum(c.charge_nano) FILTER (
             WHERE l.state IS DISTINCT FROM 'closed'), 0)::bigint AS in_time,
           sum(c.charge_nano) FILTER (WHERE l.state = 'closed')::bigint AS late,
           (array_agg(c.request_id ORDER BY c.request_id)
            FILTER (WHERE l.state = 'closed'))[1] AS first_late
    FROM unnest(p_charged) AS c LEFT JOIN billing_lease l ON l.id = c.lease_id
    GROUP BY c.account_id
  ) AS due
  JOIN billing_account a ON a.id = due.account_id
  WHERE due.late > greatest(a.posted_nano - a.held_nano - due.in_time, 0);
END
$$;
