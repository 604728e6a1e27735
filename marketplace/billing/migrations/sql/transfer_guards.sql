-- The guards of billing_transfer, once a statement instead of once a row.

DROP TRIGGER billing_transfer_writer ON billing_transfer;
CREATE TRIGGER billing_transfer_writer BEFORE INSERT ON billing_transfer
  FOR EACH STATEMENT EXECUTE FUNCTION billing_guard_writer();

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
