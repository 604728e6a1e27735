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
