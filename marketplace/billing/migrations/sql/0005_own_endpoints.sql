-- A call that is the platform's whole has no provider: what an organisation's own endpoint costs.

SELECT set_config('search_path', format('%I, pg_temp', current_schema()), true);

CREATE OR REPLACE FUNCTION billing_settle_check(p_charged usage_call[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  v_bad uuid;
BEGIN
  SELECT c.request_id INTO v_bad
  FROM unnest(p_charged) AS c
  LEFT JOIN billing_account a ON a.id = c.account_id AND a.kind = 'customer'
  LEFT JOIN billing_account p ON p.id = c.provider_account_id AND p.kind = 'provider'
  LEFT JOIN billing_lease l ON l.id = c.lease_id
  WHERE a.id IS NULL OR l.account_id <> c.account_id
     OR (p.id IS NULL AND (c.provider_account_id <> 0 OR c.charge_nano <> c.commission_nano))
  LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION 'usage record % names accounts or a lease that do not fit together', v_bad;
  END IF;
END
$$;
