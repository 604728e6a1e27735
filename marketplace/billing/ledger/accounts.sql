-- The ledger: the only writer of money. Read accounts, transfers, leases, budgets, settle.
--
-- Only inserting transfers moves an account's posted_nano. Only changing leases moves its
-- held_nano, and a budget's held_nano and spent_nano. Triggers do both and refuse direct writes, so
-- that transfers and leases explain every balance.
--
-- Lock order: accounts by id, then their budgets and leases. A budget belongs to one organisation
-- and changes only under its account's lock.
--
-- The services' role may not write (marketplace/billing/rights.py). It calls the SECURITY DEFINER
-- functions, which run as the owner of the tables. They also turn on the setting waypost.ledger,
-- which the triggers check; PostgreSQL restores it however the function ends.
--
-- To change a function: docs/how-to/change-the-ledger.md.

-- The search path of SECURITY DEFINER functions (FROM CURRENT): no caller's table replaces ours.
SELECT set_config('search_path', format('%I, pg_temp', current_schema()), true);

-- Accounts -----------------------------------------------------------------------------------------

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

-- Locks: locking a row needs the right to change it, which the services lack -----------------------

-- Lock an organisation's accounts and the platform's cash, in the ledger's order, until the
-- transaction ends.
CREATE FUNCTION billing_accounts_lock(p_organisation bigint) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
  PERFORM 1 FROM billing_account
    WHERE organisation_id = p_organisation OR debtor_id = p_organisation OR kind = 'cash'
    ORDER BY id FOR UPDATE;
END
$$;

-- Lock one account. Rows that only refer to it need not wait.
CREATE FUNCTION billing_account_lock(p_account bigint) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
  PERFORM 1 FROM billing_account WHERE id = p_account FOR NO KEY UPDATE;
END
$$;

-- Guards of other tables ---------------------------------------------------------------------------

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
