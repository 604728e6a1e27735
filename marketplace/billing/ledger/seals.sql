-- Seals: a proof of balances begins after the last one instead of at the first transfer. Digests form
-- a chain from the first transfer on, so that a proof from the beginning finds what changed under a
-- seal (marketplace/billing/seals).

-- The search path of SECURITY DEFINER functions (FROM CURRENT): no caller's table replaces ours.
SELECT set_config('search_path', format('%I, pg_temp', current_schema()), true);

-- The last transfer below which none can come any more. Writers wait until the transaction ends, so
-- the caller ends it at once.
CREATE FUNCTION billing_seals_horizon() RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET lock_timeout = '2s' SET search_path FROM CURRENT AS $$
BEGIN
  -- An insert draws its number after it has its own lock on the table.
  LOCK TABLE billing_transfer IN SHARE ROW EXCLUSIVE MODE;
  RETURN (SELECT coalesce(max(id), 0) FROM billing_transfer);
END
$$;

CREATE FUNCTION billing_seal_digest(p_before bytea, p_after bigint, p_through bigint) RETURNS bytea
LANGUAGE sql STABLE AS $$
  SELECT sha256(p_before || convert_to(coalesce(string_agg(
    ROW(id, debit_id, credit_id, amount_nano, idem_key, kind, request_id,
        extract(epoch FROM created_at))::text, E'\n' ORDER BY id), ''), 'UTF8'))
  FROM billing_transfer WHERE id > p_after AND id <= p_through
$$;

CREATE FUNCTION billing_seal_sums() RETURNS bytea LANGUAGE sql STABLE AS $$
  SELECT sha256(convert_to(coalesce(string_agg(
    ROW(account_id, month - DATE '1970-01-01', amount_nano)::text, E'\n'
    ORDER BY account_id, month), ''), 'UTF8'))
  FROM billing_sealedsum
$$;

-- Proofs of balances exclude it: what they read of sums and of transfers then fits together.
CREATE FUNCTION billing_seals_hold() RETURNS void LANGUAGE sql AS $$
  SELECT pg_advisory_xact_lock_shared(hashtext('billing_seals'))
$$;

-- Seal the next p_rows transfers up to the horizon; nothing if there are none, or a proof runs.
CREATE FUNCTION billing_seal_make(p_horizon bigint, p_rows integer) RETURNS SETOF billing_seal
LANGUAGE plpgsql SECURITY DEFINER SET waypost.ledger = 'on' SET search_path FROM CURRENT AS $$
DECLARE
  v_last billing_seal%ROWTYPE;
  v_after bigint;
  v_through bigint;
  v_transfers bigint;
BEGIN
  IF NOT pg_try_advisory_xact_lock(hashtext('billing_seals')) THEN
    RETURN;
  END IF;
  SELECT * INTO v_last FROM billing_seal ORDER BY through DESC LIMIT 1;
  v_after := coalesce(v_last.through, 0);
  SELECT max(id), count(*) INTO v_through, v_transfers
  FROM (SELECT id FROM billing_transfer WHERE id > v_after AND id <= p_horizon
        ORDER BY id LIMIT p_rows) AS range;
  IF v_transfers = 0 THEN
    RETURN;
  END IF;
  INSERT INTO billing_sealedsum AS sealed (account_id, month, amount_nano)
    SELECT side.account_id, date_trunc('month', side.created_at AT TIME ZONE 'UTC')::date,
           sum(side.amount_nano)
    FROM (SELECT credit_id AS account_id, created_at, amount_nano FROM billing_transfer
            WHERE id > v_after AND id <= v_through
          UNION ALL SELECT debit_id, created_at, -amount_nano FROM billing_transfer
            WHERE id > v_after AND id <= v_through) AS side
    GROUP BY 1, 2
    ON CONFLICT (account_id, month)
      DO UPDATE SET amount_nano = sealed.amount_nano + excluded.amount_nano;
  RETURN QUERY
    INSERT INTO billing_seal (through, transfers, digest, sums)
    VALUES (v_through, v_transfers,
            billing_seal_digest(coalesce(v_last.digest, ''), v_after, v_through),
            billing_seal_sums())
    RETURNING *;
END
$$;

-- A signature that does not fit its seal is found by the next proof.
CREATE FUNCTION billing_seal_sign(p_seal bigint, p_signature bytea) RETURNS void
LANGUAGE sql SECURITY DEFINER SET waypost.ledger = 'on' SET search_path FROM CURRENT AS $$
  UPDATE billing_seal SET signature = p_signature WHERE id = p_seal
$$;

CREATE TRIGGER billing_seal_writer BEFORE INSERT OR UPDATE ON billing_seal
  FOR EACH STATEMENT EXECUTE FUNCTION billing_guard_writer();
CREATE TRIGGER billing_seal_no_delete BEFORE DELETE OR TRUNCATE ON billing_seal
  FOR EACH STATEMENT EXECUTE FUNCTION billing_refuse();
CREATE TRIGGER billing_sealedsum_writer BEFORE INSERT OR UPDATE ON billing_sealedsum
  FOR EACH STATEMENT EXECUTE FUNCTION billing_guard_writer();
CREATE TRIGGER billing_sealedsum_no_delete BEFORE DELETE OR TRUNCATE ON billing_sealedsum
  FOR EACH STATEMENT EXECUTE FUNCTION billing_refuse();
