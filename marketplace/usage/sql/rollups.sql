-- Rollups: sums over the calls of an hour and of a day (UTC), written in the transaction that
-- inserts the events.
--
-- Latencies are counted in buckets of half a power of two: bucket i holds 2^(i/2) ms up to
-- 2^((i+1)/2) ms. A histogram is an array of cells, bucket * 2^32 + calls. Writers append cells, and
-- readers sum them. A long array is folded to one cell a bucket.

-- The search path of SECURITY DEFINER functions (FROM CURRENT): no caller's table replaces ours.
SELECT set_config('search_path', format('%I, pg_temp', current_schema()), true);

-- The fields of a call that the ledger and the rollups need.
CREATE TYPE usage_call AS (
  request_id uuid, created_at timestamptz, lease_id uuid, account_id bigint,
  organisation_id bigint, key_id bigint, user_id bigint, model text, outcome text,
  deployment_id bigint, provider_account_id bigint, charge_nano bigint, commission_nano bigint,
  prompt_tokens bigint, cached_tokens bigint, completion_tokens bigint, reasoning_tokens bigint,
  rows bigint, images bigint, queue_ms float8, ttft_ms float8, total_ms float8,
  app text, app_title text);

-- Rollups count the time to first byte of streams only. Without streaming the first byte comes with
-- the last, so its time would leave none for the tokens.
CREATE FUNCTION usage_call_of(e usage_event) RETURNS usage_call LANGUAGE sql IMMUTABLE AS $$
  SELECT ROW(
    e.request_id, e.created_at, e.lease_id, e.account_id,
    e.organisation_id, e.key_id, e.user_id, e.model, e.outcome,
    e.deployment_id, e.provider_account_id, e.charge_nano, e.commission_nano,
    e.prompt_tokens, e.cached_tokens, e.completion_tokens, e.reasoning_tokens,
    e.rows, e.images, e.queue_ms, CASE WHEN e.streamed THEN e.ttft_ms ELSE 0 END, e.total_ms,
    e.app, e.app_title)::usage_call
$$;

CREATE FUNCTION usage_bucket(p_ms float8) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT floor(ln(least(greatest(p_ms, 1), 1e6)) * 2.8853900817779268)::bigint -- 2 / ln 2
$$;

CREATE FUNCTION usage_cells_fold(p_cells bigint[]) RETURNS bigint[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT array_agg((bucket << 32) + calls ORDER BY bucket)
  FROM (SELECT cell >> 32 AS bucket, sum(cell & 4294967295)::bigint AS calls
        FROM unnest(p_cells) AS cell GROUP BY 1) AS folded
$$;

CREATE FUNCTION usage_cells_add(p_to bigint[], p_more bigint[]) RETURNS bigint[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE WHEN cardinality(p_to) < 24 THEN p_to || p_more
              ELSE usage_cells_fold(p_to || p_more) END
$$;
CREATE AGGREGATE usage_cells_sum(bigint[]) (
  SFUNC = usage_cells_add, STYPE = bigint[], INITCOND = '{}');

CREATE FUNCTION usage_rollup_add(p_calls usage_call[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM usage_span_rollup_add(p_calls);
  PERFORM usage_caller_rollup_add(p_calls);
  PERFORM usage_app_rollup_add(p_calls);
END
$$;

-- Add calls to the rollups by deployment and outcome, of hours and of days.
CREATE FUNCTION usage_span_rollup_add(p_calls usage_call[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO usage_rollup AS r (
    organisation_id, span, starts_at, key_id, user_id, model, deployment_id, outcome,
    calls, charge_nano, commission_nano,
    prompt_tokens, cached_tokens, completion_tokens, reasoning_tokens, rows, images,
    queue_ms, ttft_ms, total_ms, ttft_cells, total_cells)
  SELECT
    organisation_id, span, date_trunc(span, created_at, 'UTC') AS starts_at,
    key_id, user_id, model, deployment_id, outcome,
    count(*), sum(charge_nano), sum(commission_nano),
    sum(prompt_tokens), sum(cached_tokens), sum(completion_tokens), sum(reasoning_tokens),
    sum(rows), sum(images), sum(queue_ms), sum(ttft_ms), sum(total_ms),
    coalesce(array_agg((usage_bucket(c.ttft_ms) << 32) + 1) FILTER (WHERE c.ttft_ms > 0), '{}'),
    coalesce(array_agg((usage_bucket(c.total_ms) << 32) + 1) FILTER (WHERE c.total_ms > 0), '{}')
  FROM unnest(p_calls) AS c CROSS JOIN (VALUES ('hour'), ('day')) AS spans (span)
  GROUP BY organisation_id, span, starts_at, key_id, user_id, model, deployment_id, outcome
  -- One order in every session: two writers of the same rows wait and cannot deadlock.
  ORDER BY organisation_id, span, starts_at, key_id, user_id, model, deployment_id, outcome
  ON CONFLICT (organisation_id, span, starts_at, key_id, user_id, model, deployment_id, outcome)
  DO UPDATE SET
    calls = r.calls + EXCLUDED.calls,
    charge_nano = r.charge_nano + EXCLUDED.charge_nano,
    commission_nano = r.commission_nano + EXCLUDED.commission_nano,
    prompt_tokens = r.prompt_tokens + EXCLUDED.prompt_tokens,
    cached_tokens = r.cached_tokens + EXCLUDED.cached_tokens,
    completion_tokens = r.completion_tokens + EXCLUDED.completion_tokens,
    reasoning_tokens = r.reasoning_tokens + EXCLUDED.reasoning_tokens,
    rows = r.rows + EXCLUDED.rows,
    images = r.images + EXCLUDED.images,
    queue_ms = r.queue_ms + EXCLUDED.queue_ms,
    ttft_ms = r.ttft_ms + EXCLUDED.ttft_ms,
    total_ms = r.total_ms + EXCLUDED.total_ms,
    ttft_cells = usage_cells_add(r.ttft_cells, EXCLUDED.ttft_cells),
    total_cells = usage_cells_add(r.total_cells, EXCLUDED.total_cells);
END
$$;

-- Add calls to the daily rollups by caller and model, for an organisation's pages.
CREATE FUNCTION usage_caller_rollup_add(p_calls usage_call[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO usage_caller_rollup AS r (
    organisation_id, starts_at, key_id, user_id, model,
    calls, failed, charge_nano, tokens_in, tokens_out, ttft_cells, total_cells)
  SELECT
    organisation_id, date_trunc('day', created_at, 'UTC') AS starts_at, key_id, user_id, model,
    count(*), count(*) FILTER (WHERE outcome <> 'completed'),
    sum(charge_nano), sum(prompt_tokens + cached_tokens), sum(completion_tokens + reasoning_tokens),
    coalesce(array_agg((usage_bucket(c.ttft_ms) << 32) + 1)
             FILTER (WHERE outcome = 'completed' AND c.ttft_ms > 0), '{}'),
    coalesce(array_agg((usage_bucket(c.total_ms) << 32) + 1)
             FILTER (WHERE outcome = 'completed' AND c.total_ms > 0), '{}')
  FROM unnest(p_calls) AS c
  GROUP BY organisation_id, starts_at, key_id, user_id, model
  -- One order in every session, as in usage_rollup_add.
  ORDER BY organisation_id, starts_at, key_id, user_id, model
  ON CONFLICT (organisation_id, starts_at, key_id, user_id, model) DO UPDATE SET
    calls = r.calls + EXCLUDED.calls,
    failed = r.failed + EXCLUDED.failed,
    charge_nano = r.charge_nano + EXCLUDED.charge_nano,
    tokens_in = r.tokens_in + EXCLUDED.tokens_in,
    tokens_out = r.tokens_out + EXCLUDED.tokens_out,
    ttft_cells = usage_cells_add(r.ttft_cells, EXCLUDED.ttft_cells),
    total_cells = usage_cells_add(r.total_cells, EXCLUDED.total_cells);
END
$$;

-- Add completed calls to the sums by application, of hours and of days. Most calls name none.
CREATE FUNCTION usage_app_rollup_add(p_calls usage_call[]) RETURNS void LANGUAGE plpgsql AS $$
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

-- Rebuild the rollups of some days (UTC) from their events; returns the number of calls.
CREATE FUNCTION usage_rollup_rebuild(p_from timestamptz, p_until timestamptz) RETURNS bigint
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
