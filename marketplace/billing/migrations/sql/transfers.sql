-- Top-ups, grants and reversals. The same key with the same values moves money once.

CREATE FUNCTION billing_transfer_post(
  p_debit bigint, p_credit bigint, p_amount_nano bigint, p_idem_key text, p_kind text
) RETURNS bigint
LANGUAGE plpgsql SET waypost.ledger = 'on' AS $$
DECLARE
  v_seen billing_transfer%ROWTYPE;
  v_id bigint;
BEGIN
  IF p_kind IS NULL OR p_kind NOT IN ('topup', 'grant', 'reversal') THEN
    RAISE EXCEPTION 'transfer kind must be topup, grant or reversal, got %', p_kind;
  END IF;
  IF p_amount_nano IS NULL OR p_amount_nano <= 0 THEN
    RAISE EXCEPTION 'a transfer moves a positive amount, got %', p_amount_nano;
  END IF;
  IF (SELECT count(*) FROM (
        SELECT currency FROM billing_account WHERE id IN (p_debit, p_credit)
        ORDER BY id FOR UPDATE) AS locked) <> 2 THEN
    RAISE EXCEPTION 'a transfer needs two different accounts that exist, got % and %',
      p_debit, p_credit;
  END IF;
  IF (SELECT count(DISTINCT currency) FROM billing_account WHERE id IN (p_debit, p_credit)) <> 1
  THEN
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

  INSERT INTO billing_transfer (debit_id, credit_id, amount_nano, idem_key, kind, created_at)
    VALUES (p_debit, p_credit, p_amount_nano, p_idem_key, p_kind, clock_timestamp())
    RETURNING id INTO v_id;
  UPDATE billing_account
    SET posted_nano = posted_nano
      + CASE WHEN id = p_credit THEN p_amount_nano ELSE -p_amount_nano END
    WHERE id IN (p_debit, p_credit);
  RETURN v_id;
END
$$;
