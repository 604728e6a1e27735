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

-- As before, but only for the kinds that somebody posts: charges and covers are settled. Each is
-- between the accounts that fit it.
CREATE OR REPLACE FUNCTION billing_transfer_post(
  p_debit bigint, p_credit bigint, p_amount_nano bigint, p_idem_key text, p_kind text
) RETURNS bigint
LANGUAGE plpgsql SET waypost.ledger = 'on' AS $$
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
