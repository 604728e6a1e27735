-- Settlement: calls become events, rollups and transfers, all in one transaction.
--
-- p_records is a JSON array of router.contracts.record.UsageRecord. Money moves only for events
-- inserted now, so a record counts once however often it is sent. An inconsistent record refuses
-- the whole batch: the constraint usage_event_adds_up checks amounts and counts,
-- billing_settle_check accounts and leases.
--
-- Lock order: events by id, accounts by id, leases by id, rollups by key. Every settlement locks the
-- commission account, so that one runs at a time from there on.

-- The search path of SECURITY DEFINER functions (FROM CURRENT): no caller's table replaces ours.
SELECT set_config('search_path', format('%I, pg_temp', current_schema()), true);

CREATE FUNCTION billing_settle(p_records jsonb) RETURNS TABLE (request_id uuid, applied boolean)
LANGUAGE plpgsql SECURITY DEFINER SET waypost.ledger = 'on' SET search_path FROM CURRENT AS $$
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

-- Insert the events of these records; returns the new ones.
CREATE FUNCTION billing_settle_record(p_records jsonb) RETURNS usage_call[]
LANGUAGE sql AS $$
  WITH inserted AS (
    INSERT INTO usage_event (
      request_id, created_at, settled_at, router_id, lease_id, account_id, organisation_id,
      key_id, user_id, policy_id, model, kind, outcome, http_status, streamed, finish_reason,
      deployment_id, price_id, price_class, provider_account_id, worker_id, pool,
      hold_nano, charge_nano, commission_nano,
      prompt_tokens, cached_tokens, completion_tokens, reasoning_tokens, rows, images,
      hardware_ms, place, eta_ms, queue_ms, ttft_ms, upstream_ms, total_ms, app, app_title,
      asked, why, masked, guarded, error,
      attempts, candidates)
    SELECT
      r.request_id, to_timestamp(r.created_at_ms / 1000.0), clock_timestamp(), r.router_id,
      nullif(r.lease_id, '')::uuid, r.account_id, r.organisation_id,
      r.key_id, r.user_id, coalesce(r.policy_id, 0), r.model, r.kind, r.outcome, r.http_status,
      r.streamed, r.finish_reason,
      r.deployment_id, r.price_id, coalesce(r.price_class, 'standard'), r.provider_account_id,
      r.worker_id, r.pool,
      r.hold_nano, r.charge_nano, r.commission_nano,
      r.prompt_tokens, r.cached_tokens, r.completion_tokens, r.reasoning_tokens, r.rows, r.images,
      coalesce(r.hardware_ms, 0), coalesce(r.place, 0), coalesce(r.eta_ms, 0), r.queue_ms,
      r.ttft_ms, r.upstream_ms, r.total_ms, coalesce(r.app, ''), coalesce(r.app_title, ''),
      coalesce(r.asked, ''), coalesce(r.why, ''), coalesce(r.masked, ''),
      coalesce(r.guarded, ''), coalesce(r.error, ''),
      r.attempts, r.candidates
    FROM jsonb_to_recordset(p_records) AS r(
      request_id uuid, created_at_ms bigint, router_id text, lease_id text, account_id bigint,
      organisation_id bigint, key_id bigint, user_id bigint, policy_id bigint, model text,
      kind text, outcome text, http_status integer, streamed boolean, finish_reason text, deployment_id bigint,
      price_id bigint, price_class text, provider_account_id bigint, worker_id text, pool text, hold_nano bigint,
      charge_nano bigint, commission_nano bigint, prompt_tokens bigint, cached_tokens bigint,
      completion_tokens bigint, reasoning_tokens bigint, rows bigint, images bigint,
      hardware_ms bigint, place integer, eta_ms float8, queue_ms float8, ttft_ms float8,
      upstream_ms float8, total_ms float8, app text, app_title text,
      asked text, why text, masked text, guarded text, error text, attempts jsonb, candidates jsonb)
    -- One order in every session: two batches that share records wait and cannot deadlock.
    ORDER BY r.request_id
    ON CONFLICT (request_id) DO NOTHING
    RETURNING usage_call_of(usage_event) AS call
  )
  SELECT coalesce(array_agg(call), '{}') FROM inserted
$$;

CREATE FUNCTION billing_settle_lock(p_charged usage_call[], p_commission bigint) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
  PERFORM 1 FROM billing_account
    WHERE id = ANY (ARRAY(
      SELECT p_commission
      UNION SELECT account_id FROM unnest(p_charged)
      UNION SELECT provider_account_id FROM unnest(p_charged)))
    ORDER BY id FOR UPDATE;
  PERFORM 1 FROM billing_lease
    WHERE id = ANY (ARRAY(SELECT DISTINCT lease_id FROM unnest(p_charged)))
    ORDER BY id FOR UPDATE;
END
$$;

-- A call that is the platform's whole has no provider: what an organisation's own endpoint costs.
CREATE FUNCTION billing_settle_check(p_charged usage_call[]) RETURNS void LANGUAGE plpgsql AS $$
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

-- Charges against open leases reduce the held amount.
CREATE FUNCTION billing_settle_spend(p_charged usage_call[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM billing_budgets_roll(ARRAY(
    SELECT DISTINCT unnest(l.budgets) FROM billing_lease l
    WHERE l.id = ANY (ARRAY(SELECT DISTINCT lease_id FROM unnest(p_charged)))));
  UPDATE billing_lease l SET spent_nano = l.spent_nano + s.charge
    FROM (SELECT lease_id, sum(charge_nano)::bigint AS charge
          FROM unnest(p_charged) GROUP BY lease_id) s
    WHERE l.id = s.lease_id AND l.state = 'open';
END
$$;

-- If a call's lease was closed before it settles (a router written off), nothing is held for it. The
-- platform pays what its account cannot, as a recorded expense; the provider is paid in any case.
CREATE FUNCTION billing_settle_cover(p_charged usage_call[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO billing_transfer
    (debit_id, credit_id, amount_nano, idem_key, kind, request_id, created_at)
  SELECT (SELECT id FROM billing_account WHERE kind = 'expense'), due.account_id,
         due.late - greatest(a.posted_nano - a.held_nano - due.in_time, 0),
         'cover:' || due.first_late, 'cover', due.first_late, clock_timestamp()
  FROM (
    SELECT c.account_id,
           coalesce(sum(c.charge_nano) FILTER (
             WHERE l.state IS DISTINCT FROM 'closed'), 0)::bigint AS in_time,
           sum(c.charge_nano) FILTER (WHERE l.state = 'closed')::bigint AS late,
           (array_agg(c.request_id ORDER BY c.request_id)
            FILTER (WHERE l.state = 'closed'))[1] AS first_late
    FROM unnest(p_charged) AS c LEFT JOIN billing_lease l ON l.id = c.lease_id
    GROUP BY c.account_id
  ) AS due
  JOIN billing_account a ON a.id = due.account_id
  WHERE due.late > greatest(a.posted_nano - a.held_nano - due.in_time, 0);
END
$$;

CREATE FUNCTION billing_settle_transfer(p_charged usage_call[], p_commission bigint) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
  -- One moment for all, after the locks: no call is in two months, no invoice misses one.
  v_now timestamptz := clock_timestamp();
BEGIN
  INSERT INTO billing_transfer
    (debit_id, credit_id, amount_nano, idem_key, kind, request_id, created_at)
  SELECT c.account_id, part.credit_id, part.amount_nano,
         'charge:' || c.request_id || ':' || part.name, 'charge_' || part.name,
         c.request_id, v_now
  FROM unnest(p_charged) AS c CROSS JOIN LATERAL (VALUES
    ('provider', c.provider_account_id, c.charge_nano - c.commission_nano),
    ('commission', p_commission, c.commission_nano)
  ) AS part (name, credit_id, amount_nano)
  WHERE part.amount_nano > 0;
END
$$;

-- Update a key's last use, at most once a minute, so that a busy key is not written on every batch.
CREATE FUNCTION billing_settle_keys(p_calls usage_call[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  UPDATE accounts_apikey k SET last_used_at = u.at
    FROM (SELECT key_id, max(created_at) AS at FROM unnest(p_calls) GROUP BY key_id) u
    WHERE k.id = u.key_id
      AND (k.last_used_at IS NULL OR k.last_used_at < u.at - interval '1 minute');
END
$$;
