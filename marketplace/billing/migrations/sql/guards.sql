-- Who may write money: the ledger's functions, which run with waypost.ledger = 'on'
-- (CREATE FUNCTION … SET: PostgreSQL restores the setting however the function ends).

CREATE FUNCTION billing_ledger_is_open() RETURNS boolean LANGUAGE sql STABLE AS $$
  SELECT coalesce(current_setting('waypost.ledger', true), '') = 'on'
$$;

CREATE FUNCTION billing_guard_account() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'INSERT' THEN
    IF NEW.posted_nano <> 0 OR NEW.held_nano <> 0 THEN
      RAISE EXCEPTION 'a billing account starts empty: post a transfer to it';
    END IF;
  ELSIF NOT billing_ledger_is_open() THEN
    RAISE EXCEPTION 'billing_account % may change only through the ledger functions', OLD.id
      USING HINT = 'Use billing_transfer_post; a correction is a reversal.';
  END IF;
  RETURN NEW;
END
$$;
CREATE TRIGGER billing_account_guard BEFORE INSERT OR UPDATE ON billing_account
  FOR EACH ROW EXECUTE FUNCTION billing_guard_account();

CREATE FUNCTION billing_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION '% of % is refused: the ledger only grows', TG_OP, TG_TABLE_NAME
    USING HINT = 'A correction is a reversal (billing_transfer_post).';
END
$$;
CREATE TRIGGER billing_transfer_immutable BEFORE UPDATE OR DELETE ON billing_transfer
  FOR EACH ROW EXECUTE FUNCTION billing_refuse();
CREATE TRIGGER billing_transfer_no_truncate BEFORE TRUNCATE ON billing_transfer
  FOR EACH STATEMENT EXECUTE FUNCTION billing_refuse();

CREATE FUNCTION billing_guard_writer() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NOT billing_ledger_is_open() THEN
    RAISE EXCEPTION '% of % is refused outside the ledger functions', TG_OP, TG_TABLE_NAME;
  END IF;
  RETURN coalesce(NEW, OLD);
END
$$;
CREATE TRIGGER billing_transfer_writer BEFORE INSERT ON billing_transfer
  FOR EACH ROW EXECUTE FUNCTION billing_guard_writer();
CREATE TRIGGER billing_lease_writer BEFORE INSERT OR UPDATE OR DELETE ON billing_lease
  FOR EACH ROW EXECUTE FUNCTION billing_guard_writer();
