SELECT set_config('search_path', format('%I, pg_temp', current_schema()), true);

ALTER TYPE usage_call ADD ATTRIBUTE app text, ADD ATTRIBUTE app_title text;

CREATE OR REPLACE FUNCTION usage_call_of(e usage_event) RETURNS usage_call LANGUAGE sql IMMUTABLE AS $$
  SELECT ROW(
    e.request_id, e.created_at, e.lease_id, e.account_id,
    e.organisation_id, e.key_id, e.user_id, e.model, e.outcome,
    e.deployment_id, e.provider_account_id, e.charge_nano, e.commission_nano,
    e.prompt_tokens, e.cached_tokens, e.completion_tokens, e.reasoning_tokens,
    e.rows, e.images, e.queue_ms, CASE WHEN e.streamed THEN e.ttft_ms ELSE 0 END, e.total_ms,
    e.app, e.app_title)::usage_call
$$;

CREATE OR REPLACE FUNCTION usage_app_rollup_add(p_calls usage_call[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO usage_app_rollup AS r (organisation_id, span, starts_at, app, title, calls, tokens)
  SELECT
    organisation_id, span, date_trunc(span, created_at, 'UTC') AS starts_at, app,
    coalesce((array_agg(app_title ORDER BY created_at DESC) FILTER (WHERE app_title <> ''))[1], ''),
    count(*),
    sum(prompt_tokens + cached_tokens + completion_tokens + reasoning_tokens)
  FROM unnest(p_calls) AS c CROSS JOIN (VALUES ('hour'), ('day')) AS spans (span)
  -- What an organisation has of its own begins with ~, and is in no public sum.
  WHERE app <> '' AND outcome = 'completed' AND model NOT LIKE '~%'
  GROUP BY organisation_id, span, starts_at, app
  -- One order in every session, as in usage_rollup_add.
  ORDER BY organisation_id, span, starts_at, app
  ON CONFLICT (organisation_id, span, starts_at, app) DO UPDATE SET
    title = coalesce(nullif(EXCLUDED.title, ''), r.title),
    calls = r.calls + EXCLUDED.calls,
    tokens = r.tokens + EXCLUDED.tokens;
END
$$;

CREATE OR REPLACE FUNCTION usage_rollup_add(p_calls usage_call[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM usage_span_rollup_add(p_calls);
  PERFORM usage_caller_rollup_add(p_calls);
  PERFORM usage_app_rollup_add(p_calls);
END
$$;

CREATE OR REPLACE FUNCTION usage_rollup_rebuild(p_from timestamptz, p_until timestamptz) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
  v_day timestamptz := date_trunc('day', p_from, 'UTC');
  v_calls usage_call[];
  v_counted bigint := 0;
BEGIN
  -- Nothing settles meanwhile.
  LOCK TABLE usage_event IN SHARE ROW EXCLUSIVE MODE;
  WHILE v_day < p_until LOOP
    DELETE FROM usage_rollup
      WHERE starts_at >= v_day AND starts_at < v_day + interval '24 hours';
    DELETE FROM usage_caller_rollup WHERE starts_at = v_day;
    DELETE FROM usage_app_rollup
      WHERE starts_at >= v_day AND starts_at < v_day + interval '24 hours';
    SELECT array_agg(usage_call_of(e)) INTO v_calls FROM usage_event e
      WHERE request_id >= usage_uuid7_floor(v_day)
        AND request_id < usage_uuid7_floor(v_day + interval '24 hours');
    PERFORM usage_rollup_add(v_calls);
    v_counted := v_counted + coalesce(cardinality(v_calls), 0);
    v_day := v_day + interval '24 hours';
  END LOOP;
  RETURN v_counted;
END
$$;
