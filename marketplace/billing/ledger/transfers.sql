-- Transfers: one row carries both sides, and is never changed. A correction is a reversal.

-- The search path of SECURITY DEFINER functions (FROM CURRENT): no caller's table replaces ours.
SELECT set_config('search_path', format('%I, pg_temp', current_schema()), true);

-- Whether a kind of transfer may move money between these kinds of accounts. A reversal may go
-- between any.
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

-- The transfer that a reversal names in its key, or NULL.
CREATE FUNCTION billing_reversal_of(p_idem_key text) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE WHEN p_idem_key ~ '^reversal:[1-9][0-9]{0,17}$'
              THEN substr(p_idem_key, 10)::bigint END
$$;

-- Post an ordered transfer or a payment; settlement posts charges and covers. The same key with the
-- same values moves money once.
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

-- Balances after transfers, once a statement -------------------------------------------------------

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

-- Instead of foreign keys, which would check each row.
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

-- Guards -------------------------------------------------------------------------------------------

CREATE TRIGGER billing_transfer_writer BEFORE INSERT ON billing_transfer
  FOR EACH STATEMENT EXECUTE FUNCTION billing_guard_writer();
CREATE TRIGGER billing_transfer_immutable BEFORE UPDATE OR DELETE ON billing_transfer
  FOR EACH ROW EXECUTE FUNCTION billing_refuse();
CREATE TRIGGER billing_transfer_no_truncate BEFORE TRUNCATE ON billing_transfer
  FOR EACH STATEMENT EXECUTE FUNCTION billing_refuse();

-- Statements: an issued one never changes, a correction is in a later month's ----------------------

CREATE TRIGGER billing_statement_immutable BEFORE UPDATE OR DELETE ON billing_statement
  FOR EACH ROW EXECUTE FUNCTION billing_refuse();
CREATE TRIGGER billing_statement_no_truncate BEFORE TRUNCATE ON billing_statement
  FOR EACH STATEMENT EXECUTE FUNCTION billing_refuse();

-- One issuer of statements at a time; readers do not wait.
CREATE FUNCTION billing_statements_lock() RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
  LOCK TABLE billing_statement IN SHARE ROW EXCLUSIVE MODE;
END
$$;
