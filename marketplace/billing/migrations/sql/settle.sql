-- Settlement. p_records is a JSON array of router.contracts.record.UsageRecord. Events and money
-- are written together; money moves only for events inserted now, so a record counts once however
-- often it is sent. Anything that does not add up refuses the whole batch.

CREATE FUNCTION billing_settle_check(p_records jsonb) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  v_bad text;
BEGIN
  SELECT request_id INTO v_bad
  FROM jsonb_to_recordset(p_records) AS r(
    request_id text, hold_nano bigint, charge_nano bigint, commission_nano bigint,
    prompt_tokens bigint, cached_tokens bigint, completion_tokens bigint,
    reasoning_tokens bigint, rows bigint, images bigint)
  WHERE charge_nano NOT BETWEEN 0 AND hold_nano
     OR commission_nano NOT BETWEEN 0 AND charge_nano
     OR least(prompt_tokens, cached_tokens, completion_tokens, reasoning_tokens, rows, images) < 0
  LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION 'usage record % breaks 0 <= commission <= charge <= hold or counts below zero',
      v_bad;
  END IF;
END
$$;

CREATE FUNCTION billing_settle_record(p_records jsonb) RETURNS uuid[] LANGUAGE sql AS $$
  WITH inserted AS (
    INSERT INTO usage_event (
      request_id, created_at, settled_at, router_id, lease_id, account_id, organisation_id,
      key_id, user_id, model, kind, outcome, http_status, streamed, finish_reason,
      deployment_id, price_id, provider_account_id, worker_id, pool,
      hold_nano, charge_nano, commission_nano,
      prompt_tokens, cached_tokens, completion_tokens, reasoning_tokens, rows, images,
      queue_ms, ttft_ms, upstream_ms, total_ms, attempts, candidates)
    SELECT
      r.request_id, to_timestamp(r.created_at_ms / 1000.0), clock_timestamp(), r.router_id,
      nullif(r.lease_id, '')::uuid, r.account_id, r.organisation_id,
      r.key_id, r.user_id, r.model, r.kind, r.outcome, r.http_status, r.streamed, r.finish_reason,
      r.deployment_id, r.price_id, r.provider_account_id, r.worker_id, r.pool,
      r.hold_nano, r.charge_nano, r.commission_nano,
      r.prompt_tokens, r.cached_tokens, r.completion_tokens, r.reasoning_tokens, r.rows, r.images,
      r.queue_ms, r.ttft_ms, r.upstream_ms, r.total_ms, r.attempts, r.candidates
    FROM jsonb_to_recordset(p_records) AS r(
      request_id uuid, created_at_ms bigint, router_id text, lease_id text, account_id bigint,
      organisation_id bigint, key_id bigint, user_id bigint, model text, kind text, outcome text,
      http_status integer, streamed boolean, finish_reason text, deployment_id bigint,
      price_id bigint, provider_account_id bigint, worker_id text, pool text, hold_nano bigint,
      charge_nano bigint, commission_nano bigint, prompt_tokens bigint, cached_tokens bigint,
      completion_tokens bigint, reasoning_tokens bigint, rows bigint, images bigint,
      queue_ms float8, ttft_ms float8, upstream_ms float8, total_ms float8,
      attempts jsonb, candidates jsonb)
    -- One order in every session: two batches that share records wait and cannot deadlock.
    ORDER BY r.request_id
    ON CONFLICT (request_id) DO NOTHING
    RETURNING request_id
  )
  SELECT coalesce(array_agg(request_id), '{}') FROM inserted
$$;

CREATE FUNCTION billing_settle(p_records jsonb) RETURNS TABLE (request_id uuid, applied boolean)
LANGUAGE plpgsql SET waypost.ledger = 'on' AS $$
#variable_conflict use_column
DECLARE
  v_new uuid[];
  v_bad uuid;
  v_commission bigint;
BEGIN
  PERFORM billing_settle_check(p_records);
  v_new := billing_settle_record(p_records);

  SELECT id INTO STRICT v_commission FROM billing_account WHERE kind = 'commission';
  PERFORM 1 FROM billing_account
    WHERE id = v_commission OR id IN (
      SELECT unnest(ARRAY[account_id, provider_account_id])
      FROM usage_event WHERE request_id = ANY (v_new) AND charge_nano > 0)
    ORDER BY id FOR UPDATE;
  PERFORM 1 FROM billing_lease
    WHERE id IN (SELECT lease_id FROM usage_event
                 WHERE request_id = ANY (v_new) AND charge_nano > 0)
    ORDER BY id FOR UPDATE;

  SELECT e.request_id INTO v_bad
  FROM usage_event e
  LEFT JOIN billing_account c ON c.id = e.account_id AND c.kind = 'customer'
  LEFT JOIN billing_account p ON p.id = e.provider_account_id AND p.kind = 'provider'
  LEFT JOIN billing_lease l ON l.id = e.lease_id
  WHERE e.request_id = ANY (v_new) AND e.charge_nano > 0
    AND (c.id IS NULL OR p.id IS NULL OR l.account_id <> e.account_id)
  LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION 'usage record % names accounts or a lease that do not fit together', v_bad;
  END IF;

  INSERT INTO billing_transfer
    (debit_id, credit_id, amount_nano, idem_key, kind, request_id, created_at)
  SELECT e.account_id, part.credit_id, part.amount_nano,
         'charge:' || e.request_id || ':' || part.name, 'charge_' || part.name,
         e.request_id, clock_timestamp()
  FROM usage_event e CROSS JOIN LATERAL (VALUES
    ('provider', e.provider_account_id, e.charge_nano - e.commission_nano),
    ('commission', v_commission, e.commission_nano)
  ) AS part (name, credit_id, amount_nano)
  WHERE e.request_id = ANY (v_new) AND part.amount_nano > 0;

  WITH move AS (
    SELECT e.account_id AS id, -e.charge_nano AS posted,
           CASE WHEN l.state = 'open' THEN e.charge_nano ELSE 0 END AS unheld
    FROM usage_event e LEFT JOIN billing_lease l ON l.id = e.lease_id
    WHERE e.request_id = ANY (v_new) AND e.charge_nano > 0
    UNION ALL
    SELECT provider_account_id, charge_nano - commission_nano, 0
    FROM usage_event WHERE request_id = ANY (v_new) AND charge_nano > 0
    UNION ALL
    SELECT v_commission, commission_nano, 0
    FROM usage_event WHERE request_id = ANY (v_new) AND commission_nano > 0
  ), total AS (
    SELECT id, sum(posted)::bigint AS posted, sum(unheld)::bigint AS unheld FROM move GROUP BY id
  )
  UPDATE billing_account a
    SET posted_nano = a.posted_nano + t.posted, held_nano = a.held_nano - t.unheld
    FROM total t WHERE a.id = t.id;

  UPDATE billing_lease l SET spent_nano = l.spent_nano + s.charge
    FROM (SELECT lease_id, sum(charge_nano)::bigint AS charge FROM usage_event
          WHERE request_id = ANY (v_new) AND charge_nano > 0 GROUP BY lease_id) s
    WHERE l.id = s.lease_id AND l.state = 'open';

  -- Right to the minute, so that a busy key is not written on every batch.
  UPDATE accounts_apikey k SET last_used_at = u.at
    FROM (SELECT key_id, max(created_at) AS at FROM usage_event
          WHERE request_id = ANY (v_new) GROUP BY key_id) u
    WHERE k.id = u.key_id
      AND (k.last_used_at IS NULL OR k.last_used_at < u.at - interval '1 minute');

  RETURN QUERY
    SELECT s.request_id, s.request_id = ANY (v_new)
    FROM (SELECT DISTINCT r.request_id FROM jsonb_to_recordset(p_records) AS r(request_id uuid)) s;
END
$$;
