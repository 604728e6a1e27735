-- What moved balances by hand, and need not any more.

CREATE OR REPLACE FUNCTION billing_transfer_post(
  p_debit bigint, p_credit bigint, p_amount_nano bigint, p_idem_key text, p_kind text
) RETURNS bigint
LANGUAGE plpgsql SET waypost.ledger = 'on' AS $$
DECLARE
  v_seen billing_transfer%ROWTYPE;
  v_id bigint;
BEGIN
  IF p_kind IS NULL OR p_kind LIKE 'charge%' THEN
    RAISE EXCEPTION 'a charge is settled, not posted, got transfer kind %', p_kind;
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
  RETURN v_id;
END
$$;

CREATE OR REPLACE FUNCTION billing_settle(p_records jsonb) RETURNS TABLE (request_id uuid, applied boolean)
LANGUAGE plpgsql SET waypost.ledger = 'on' AS $$
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
