SELECT set_config('search_path', format('%I, pg_temp', current_schema()), true);

CREATE OR REPLACE FUNCTION billing_settle_record(p_records jsonb) RETURNS usage_call[]
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
