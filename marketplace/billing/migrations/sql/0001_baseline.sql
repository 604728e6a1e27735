-- The ledger: the only writer of money. Read accounts, transfers, leases, budgets, settle.
--
-- An account's posted_nano moves only by inserting transfers; its held_nano, and what a budget holds
-- and has spent, only by changing leases. Triggers do both and refuse to have them written directly,
-- so no balance can be written that its transfers and leases do not explain.
--
-- Lock order everywhere: accounts by id, then their budgets and leases. A budget belongs to one
-- organisation and is changed only under its account's lock.
--
-- The services' role may not write (marketplace/billing/rights.py). It calls the functions that say
-- SECURITY DEFINER, which run as the owner of the tables. They also open a switch, waypost.ledger, that
-- the triggers look at; PostgreSQL restores it however the function ends.
--
-- To change a function: docs/how-to/change-the-ledger.md.

-- The path of SECURITY DEFINER functions (FROM CURRENT): no table of a caller's stands in for ours.
SELECT set_config('search_path', format('%I, pg_temp', current_schema()), true);

-- Accounts ------------------------------------------------------------------------------------------

CREATE FUNCTION billing_guard_account() RETURNS trigger LANGUAGE plpgsql AS $$
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
CREATE TRIGGER billing_account_guard BEFORE INSERT OR UPDATE ON billing_account
  FOR EACH ROW EXECUTE FUNCTION billing_guard_account();

CREATE FUNCTION billing_guard_history() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF EXISTS (SELECT 1 FROM billing_transfer WHERE debit_id = OLD.id)
     OR EXISTS (SELECT 1 FROM billing_transfer WHERE credit_id = OLD.id) THEN
    RAISE EXCEPTION 'billing account % has transfers and stays', OLD.id
      USING ERRCODE = 'foreign_key_violation';
  END IF;
  RETURN OLD;
END
$$;
CREATE TRIGGER billing_account_history BEFORE DELETE ON billing_account
  FOR EACH ROW EXECUTE FUNCTION billing_guard_history();

-- Locks: to lock a row takes the right to change it, which the services have not ----------------------

-- An organisation's accounts and the platform's cash, in the ledger's order, to the transaction's end.
CREATE FUNCTION billing_accounts_lock(p_organisation bigint) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
  PERFORM 1 FROM billing_account
    WHERE organisation_id = p_organisation OR debtor_id = p_organisation OR kind = 'cash'
    ORDER BY id FOR UPDATE;
END
$$;

-- One account. What only refers to it need not wait.
CREATE FUNCTION billing_account_lock(p_account bigint) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
  PERFORM 1 FROM billing_account WHERE id = p_account FOR NO KEY UPDATE;
END
$$;

-- Guards of other tables ----------------------------------------------------------------------------

CREATE FUNCTION billing_ledger_is_open() RETURNS boolean LANGUAGE sql STABLE AS $$
  SELECT coalesce(current_setting('waypost.ledger', true), '') = 'on'
$$;

CREATE FUNCTION billing_guard_writer() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NOT billing_ledger_is_open() THEN
    RAISE EXCEPTION '% of % is refused outside the ledger functions', TG_OP, TG_TABLE_NAME;
  END IF;
  RETURN coalesce(NEW, OLD);
END
$$;

CREATE FUNCTION billing_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION '% of % is refused: the ledger only grows', TG_OP, TG_TABLE_NAME
    USING HINT = 'A correction is a reversal (billing_transfer_post).';
END
$$;

-- Transfers: one row carries both sides, and is never changed. A correction is a reversal.

-- The path of SECURITY DEFINER functions (FROM CURRENT): no table of a caller's stands in for ours.
SELECT set_config('search_path', format('%I, pg_temp', current_schema()), true);

-- Between which kinds of accounts a kind of transfer moves money. A reversal goes back where its
-- transfer came from, whatever that was.
CREATE FUNCTION billing_transfer_fits(p_kind text, p_debit text, p_credit text) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT p_kind = 'reversal' OR (p_kind, p_debit, p_credit) IN (
    ('topup', 'cash', 'customer'),
    ('grant', 'grants', 'customer'),
    ('charge_provider', 'customer', 'provider'),
    ('charge_commission', 'customer', 'commission'),
    ('cover', 'expense', 'customer'),
    ('payout', 'provider', 'payouts'),
    ('refund', 'customer', 'cash'),
    ('refund', 'receivable', 'cash'),
    ('refund_return', 'cash', 'customer'),
    ('dispute', 'customer', 'cash'),
    ('dispute', 'receivable', 'cash'),
    ('dispute_return', 'cash', 'customer'),
    ('debt_payment', 'customer', 'receivable'),
    ('write_off', 'expense', 'receivable'))
$$;

-- The transfer that a reversal names in its key; NULL where it names none.
CREATE FUNCTION billing_reversal_of(p_idem_key text) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE WHEN p_idem_key ~ '^reversal:[1-9][0-9]{0,17}$'
              THEN substr(p_idem_key, 10)::bigint END
$$;

-- Post what somebody orders or pays; charges and covers are settled. The same key with the same values
-- moves money once.
CREATE FUNCTION billing_transfer_post(
  p_debit bigint, p_credit bigint, p_amount_nano bigint, p_idem_key text, p_kind text
) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET waypost.ledger = 'on' SET search_path FROM CURRENT AS $$
DECLARE
  v_seen billing_transfer%ROWTYPE;
  v_debit billing_account%ROWTYPE;
  v_credit billing_account%ROWTYPE;
  v_id bigint;
BEGIN
  IF p_kind IS NULL OR p_kind NOT IN (
    'topup', 'grant', 'reversal', 'payout', 'refund', 'refund_return', 'dispute', 'dispute_return',
    'debt_payment', 'write_off')
  THEN
    RAISE EXCEPTION 'a transfer of the kind % is settled, not posted', p_kind;
  END IF;
  IF p_amount_nano IS NULL OR p_amount_nano <= 0 THEN
    RAISE EXCEPTION 'a transfer moves a positive amount, got %', p_amount_nano;
  END IF;
  IF (SELECT count(*) FROM (
        SELECT 1 FROM billing_account WHERE id IN (p_debit, p_credit)
        ORDER BY id FOR UPDATE) AS locked) <> 2 THEN
    RAISE EXCEPTION 'a transfer needs two different accounts that exist, got % and %',
      p_debit, p_credit;
  END IF;
  SELECT * INTO v_debit FROM billing_account WHERE id = p_debit;
  SELECT * INTO v_credit FROM billing_account WHERE id = p_credit;
  IF v_debit.currency <> v_credit.currency THEN
    RAISE EXCEPTION 'accounts % and % keep different currencies', p_debit, p_credit;
  END IF;

  SELECT * INTO v_seen FROM billing_transfer WHERE idem_key = p_idem_key;
  IF FOUND THEN
    IF (v_seen.debit_id, v_seen.credit_id, v_seen.amount_nano, v_seen.kind)
       IS DISTINCT FROM (p_debit, p_credit, p_amount_nano, p_kind::varchar) THEN
      RAISE EXCEPTION 'idempotency key % was used for another transfer', p_idem_key;
    END IF;
    RETURN v_seen.id;
  END IF;

  IF NOT billing_transfer_fits(p_kind, v_debit.kind, v_credit.kind) THEN
    RAISE EXCEPTION 'a transfer of the kind % does not go from a % account to a % account',
      p_kind, v_debit.kind, v_credit.kind;
  END IF;
  IF p_kind = 'reversal' AND NOT EXISTS (
    SELECT FROM billing_transfer
    WHERE id = billing_reversal_of(p_idem_key)
      AND (debit_id, credit_id, amount_nano) = (p_credit, p_debit, p_amount_nano))
  THEN
    RAISE EXCEPTION '% names no transfer of this amount the other way', p_idem_key
      USING HINT = 'The key of a reversal is reversal:<id of the transfer>.';
  END IF;

  INSERT INTO billing_transfer (debit_id, credit_id, amount_nano, idem_key, kind, created_at)
    VALUES (p_debit, p_credit, p_amount_nano, p_idem_key, p_kind, clock_timestamp())
    RETURNING id INTO v_id;
  RETURN v_id;
END
$$;

-- What a transfer brings about, once a statement ------------------------------------------------------

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

-- In place of foreign keys, which would look at each row.
CREATE FUNCTION billing_guard_parties() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  v_id bigint;
BEGIN
  SELECT id INTO v_id
  FROM (SELECT debit_id AS id FROM made UNION SELECT credit_id FROM made) AS party
  WHERE NOT EXISTS (SELECT 1 FROM billing_account a WHERE a.id = party.id) LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION 'a transfer names account %, which does not exist', v_id
      USING ERRCODE = 'foreign_key_violation';
  END IF;
  RETURN NULL;
END
$$;
CREATE TRIGGER billing_transfer_parties AFTER INSERT ON billing_transfer
  REFERENCING NEW TABLE AS made FOR EACH STATEMENT EXECUTE FUNCTION billing_guard_parties();

-- Guards ----------------------------------------------------------------------------------------------

CREATE TRIGGER billing_transfer_writer BEFORE INSERT ON billing_transfer
  FOR EACH STATEMENT EXECUTE FUNCTION billing_guard_writer();
CREATE TRIGGER billing_transfer_immutable BEFORE UPDATE OR DELETE ON billing_transfer
  FOR EACH ROW EXECUTE FUNCTION billing_refuse();
CREATE TRIGGER billing_transfer_no_truncate BEFORE TRUNCATE ON billing_transfer
  FOR EACH STATEMENT EXECUTE FUNCTION billing_refuse();

-- Statements: what was issued stays as it was issued, a correction is in a later month's -------------

CREATE TRIGGER billing_statement_immutable BEFORE UPDATE OR DELETE ON billing_statement
  FOR EACH ROW EXECUTE FUNCTION billing_refuse();
CREATE TRIGGER billing_statement_no_truncate BEFORE TRUNCATE ON billing_statement
  FOR EACH STATEMENT EXECUTE FUNCTION billing_refuse();

-- Only one issues statements at a time; readers go on.
CREATE FUNCTION billing_statements_lock() RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
  LOCK TABLE billing_statement IN SHARE ROW EXCLUSIVE MODE;
END
$$;

-- Leases: a router takes a slice of a purse (budgets.sql) and spends it without asking. A lease belongs
-- to one life of a router.

-- The path of SECURITY DEFINER functions (FROM CURRENT): no table of a caller's stands in for ours.
SELECT set_config('search_path', format('%I, pg_temp', current_schema()), true);

-- What a lease keeps from being spent elsewhere.
CREATE FUNCTION billing_lease_rest(l billing_lease) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
  SELECT CASE WHEN l.state = 'open' THEN l.amount_nano - l.spent_nano ELSE 0 END
$$;

-- What a lease brings about.
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

-- A new lease, or why there is none: the part of the purse that has least left. With a need of 0 it
-- takes what there is, without asking other routers for what they do not use.
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

-- More of its purse for an open lease, or why there is none: what a stream that runs needs. As for a
-- new one, more than the need only up to an even part among the routers, and when funds lack every
-- router is asked for what it does not use.
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

-- Keep at most so much of a lease, and never less than was spent.
CREATE FUNCTION billing_lease_shrink(p_lease_id uuid, p_amount_nano bigint) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET waypost.ledger = 'on' SET search_path FROM CURRENT AS $$
BEGIN
  PERFORM billing_lease_lock(p_lease_id);
  UPDATE billing_lease SET amount_nano = greatest(p_amount_nano, spent_nano)
    WHERE id = p_lease_id AND state = 'open' AND amount_nano > p_amount_nano;
END
$$;

-- Returns what was not spent.
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

-- The lock of a lease is that of its account.
CREATE FUNCTION billing_lease_lock(p_lease_id uuid) RETURNS void LANGUAGE sql AS $$
  SELECT 1 FROM billing_account
    WHERE id = (SELECT account_id FROM billing_lease WHERE id = p_lease_id) FOR UPDATE;
$$;

-- What open leases hold of an account, or of one of its budgets (0 is the account itself), that no
-- router which runs will give back by itself: each life of a router has an advisory lock for as long
-- as it is connected. The asking life is there, whatever its connection.
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

-- Guards, also of what was written off with a router's leases -----------------------------------------

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

-- Budgets: limits on what an organisation, a key or a person spends in a window. With the account they
-- are a purse, out of which leases are taken.

-- The path of SECURITY DEFINER functions (FROM CURRENT): no table of a caller's stands in for ours.
SELECT set_config('search_path', format('%I, pg_temp', current_schema()), true);

-- What a purse consists of: the account, as budget 0, and the budgets that apply.
-- An organisation that owes has nothing left: no router is given a lease, and its calls are refused
-- as without credit (402). The customer account's lock orders this with whoever is posting the debt.
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

-- When a window is over, nothing is spent. What open leases hold stays held.
CREATE FUNCTION billing_budgets_roll(p_budgets bigint[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  UPDATE billing_budget
    SET spent_nano = 0, before_nano = 0,
        window_starts_at = date_trunc("window", clock_timestamp(), 'UTC')
    WHERE id = ANY (p_budgets) AND "window" <> 'ever'
      AND window_starts_at < date_trunc("window", clock_timestamp(), 'UTC');
END
$$;

-- A new budget knows what calls of its window cost before it was made: for whoever makes it, right
-- after, under its account's lock. One that never begins again counts from now on. spent_nano begins
-- with before_nano, which no lease of the budget explains; both are forgotten when the window is over.
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
    AND (b.user_id IS NULL OR r.user_id = b.user_id);
  UPDATE billing_budget
    SET spent_nano = v_before, before_nano = v_before,
        window_starts_at = CASE WHEN "window" = 'ever' THEN window_starts_at
                                ELSE date_trunc("window", clock_timestamp(), 'UTC') END
    WHERE id = p_budget AND spent_nano = 0 AND held_nano = 0 AND before_nano = 0;
END
$$;

-- Another limit or window, under its account's lock. What was spent stays: it is forgotten when the new
-- window ends. What a lower limit no longer covers is asked back from the routers.
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

-- Settlement: calls become events, rollups and transfers, all in one transaction.
--
-- p_records is a JSON array of router.contracts.record.UsageRecord, read once. Money moves only for
-- events inserted now, so a record counts once however often it is sent. Anything that does not add up
-- refuses the whole batch: amounts and counts by the constraint usage_event_adds_up, accounts and
-- leases by billing_settle_check.
--
-- Lock order: events by id, accounts by id, leases by id, rollups by key. Every settlement locks the
-- commission account, so that from there on it is alone.

-- The path of SECURITY DEFINER functions (FROM CURRENT): no table of a caller's stands in for ours.
SELECT set_config('search_path', format('%I, pg_temp', current_schema()), true);

CREATE FUNCTION billing_settle(p_records jsonb) RETURNS TABLE (request_id uuid, applied boolean)
LANGUAGE plpgsql SECURITY DEFINER SET waypost.ledger = 'on' SET search_path FROM CURRENT AS $$
#variable_conflict use_column
DECLARE
  v_new usage_call[] := billing_settle_record(p_records);
  v_charged usage_call[] := ARRAY(SELECT c FROM unnest(v_new) AS c WHERE c.charge_nano > 0);
  v_commission bigint;
BEGIN
  SELECT id INTO STRICT v_commission FROM billing_account WHERE kind = 'commission';
  PERFORM billing_settle_lock(v_charged, v_commission);
  PERFORM billing_settle_check(v_charged);
  PERFORM billing_settle_spend(v_charged);
  PERFORM billing_settle_cover(v_charged);
  PERFORM billing_settle_transfer(v_charged, v_commission);
  PERFORM billing_settle_keys(v_new);
  PERFORM usage_rollup_add(v_new);

  RETURN QUERY
    SELECT DISTINCT r.request_id, n.request_id IS NOT NULL
    FROM jsonb_to_recordset(p_records) AS r(request_id uuid)
    LEFT JOIN unnest(v_new) AS n ON n.request_id = r.request_id;
END
$$;

-- The events of these records that were not there yet.
CREATE FUNCTION billing_settle_record(p_records jsonb) RETURNS usage_call[]
LANGUAGE sql AS $$
  WITH inserted AS (
    INSERT INTO usage_event (
      request_id, created_at, settled_at, router_id, lease_id, account_id, organisation_id,
      key_id, user_id, policy_id, model, kind, outcome, http_status, streamed, finish_reason,
      deployment_id, price_id, provider_account_id, worker_id, pool,
      hold_nano, charge_nano, commission_nano,
      prompt_tokens, cached_tokens, completion_tokens, reasoning_tokens, rows, images,
      hardware_ms, queue_ms, ttft_ms, upstream_ms, total_ms, attempts, candidates)
    SELECT
      r.request_id, to_timestamp(r.created_at_ms / 1000.0), clock_timestamp(), r.router_id,
      nullif(r.lease_id, '')::uuid, r.account_id, r.organisation_id,
      r.key_id, r.user_id, coalesce(r.policy_id, 0), r.model, r.kind, r.outcome, r.http_status,
      r.streamed, r.finish_reason,
      r.deployment_id, r.price_id, r.provider_account_id, r.worker_id, r.pool,
      r.hold_nano, r.charge_nano, r.commission_nano,
      r.prompt_tokens, r.cached_tokens, r.completion_tokens, r.reasoning_tokens, r.rows, r.images,
      coalesce(r.hardware_ms, 0), r.queue_ms, r.ttft_ms, r.upstream_ms, r.total_ms, r.attempts,
      r.candidates
    FROM jsonb_to_recordset(p_records) AS r(
      request_id uuid, created_at_ms bigint, router_id text, lease_id text, account_id bigint,
      organisation_id bigint, key_id bigint, user_id bigint, policy_id bigint, model text,
      kind text, outcome text, http_status integer, streamed boolean, finish_reason text, deployment_id bigint,
      price_id bigint, provider_account_id bigint, worker_id text, pool text, hold_nano bigint,
      charge_nano bigint, commission_nano bigint, prompt_tokens bigint, cached_tokens bigint,
      completion_tokens bigint, reasoning_tokens bigint, rows bigint, images bigint,
      hardware_ms bigint, queue_ms float8, ttft_ms float8, upstream_ms float8, total_ms float8,
      attempts jsonb, candidates jsonb)
    -- One order in every session: two batches that share records wait and cannot deadlock.
    ORDER BY r.request_id
    ON CONFLICT (request_id) DO NOTHING
    RETURNING usage_call_of(usage_event) AS call
  )
  SELECT coalesce(array_agg(call), '{}') FROM inserted
$$;

CREATE FUNCTION billing_settle_lock(p_charged usage_call[], p_commission bigint) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
  PERFORM 1 FROM billing_account
    WHERE id = ANY (ARRAY(
      SELECT p_commission
      UNION SELECT account_id FROM unnest(p_charged)
      UNION SELECT provider_account_id FROM unnest(p_charged)))
    ORDER BY id FOR UPDATE;
  PERFORM 1 FROM billing_lease
    WHERE id = ANY (ARRAY(SELECT DISTINCT lease_id FROM unnest(p_charged)))
    ORDER BY id FOR UPDATE;
END
$$;

CREATE FUNCTION billing_settle_check(p_charged usage_call[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  v_bad uuid;
BEGIN
  SELECT c.request_id INTO v_bad
  FROM unnest(p_charged) AS c
  LEFT JOIN billing_account a ON a.id = c.account_id AND a.kind = 'customer'
  LEFT JOIN billing_account p ON p.id = c.provider_account_id AND p.kind = 'provider'
  LEFT JOIN billing_lease l ON l.id = c.lease_id
  WHERE a.id IS NULL OR p.id IS NULL OR l.account_id <> c.account_id
  LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION 'usage record % names accounts or a lease that do not fit together', v_bad;
  END IF;
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

CREATE FUNCTION billing_settle_transfer(p_charged usage_call[], p_commission bigint) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
  -- One moment for all, after the locks: no call is in two months, no invoice misses one.
  v_now timestamptz := clock_timestamp();
BEGIN
  INSERT INTO billing_transfer
    (debit_id, credit_id, amount_nano, idem_key, kind, request_id, created_at)
  SELECT c.account_id, part.credit_id, part.amount_nano,
         'charge:' || c.request_id || ':' || part.name, 'charge_' || part.name,
         c.request_id, v_now
  FROM unnest(p_charged) AS c CROSS JOIN LATERAL (VALUES
    ('provider', c.provider_account_id, c.charge_nano - c.commission_nano),
    ('commission', p_commission, c.commission_nano)
  ) AS part (name, credit_id, amount_nano)
  WHERE part.amount_nano > 0;
END
$$;

-- Right to the minute, so that a busy key is not written on every batch.
CREATE FUNCTION billing_settle_keys(p_calls usage_call[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  UPDATE accounts_apikey k SET last_used_at = u.at
    FROM (SELECT key_id, max(created_at) AS at FROM unnest(p_calls) GROUP BY key_id) u
    WHERE k.id = u.key_id
      AND (k.last_used_at IS NULL OR k.last_used_at < u.at - interval '1 minute');
END
$$;
