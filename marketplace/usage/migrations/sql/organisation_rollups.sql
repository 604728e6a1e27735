-- Sums over an organisation's calls by model alone, for the figures that its pages show most: those
-- of usage_rollup, written in the same statement and out of the same rows.

-- Nothing settles until this has been committed: then each call counts in both or in neither.
LOCK TABLE usage_event IN SHARE ROW EXCLUSIVE MODE;

-- Days lie apart from hours, with room on hot pages, as in usage_rollup.
ALTER TABLE usage_organisation_rollup RENAME TO usage_organisation_rollup_whole;
CREATE TABLE usage_organisation_rollup (LIKE usage_organisation_rollup_whole INCLUDING DEFAULTS)
  PARTITION BY LIST (span);
DROP TABLE usage_organisation_rollup_whole;
CREATE TABLE usage_organisation_rollup_hour PARTITION OF usage_organisation_rollup
  FOR VALUES IN ('hour') WITH (fillfactor = 70);
CREATE TABLE usage_organisation_rollup_day PARTITION OF usage_organisation_rollup
  FOR VALUES IN ('day') WITH (fillfactor = 70);
ALTER TABLE usage_organisation_rollup ADD CONSTRAINT usage_organisation_rollup_pkey
  PRIMARY KEY (organisation_id, span, starts_at, model);

-- Bags of cells put together without folding, which costs a function call a row.
CREATE AGGREGATE usage_cells_join(bigint[]) (SFUNC = array_cat, STYPE = bigint[], INITCOND = '{}');

INSERT INTO usage_organisation_rollup (
  organisation_id, span, starts_at, model, calls, failed, charge_nano, tokens_in, tokens_out,
  ttft_cells, total_cells)
SELECT
  organisation_id, span, starts_at, model, calls, failed, charge_nano, tokens_in, tokens_out,
  -- Added to nothing, a long bag is folded.
  usage_cells_add(ttft_cells, '{}'), usage_cells_add(total_cells, '{}')
FROM (
  SELECT
    organisation_id, span, starts_at, model, sum(calls) AS calls,
    coalesce(sum(calls) FILTER (WHERE outcome <> 'completed'), 0) AS failed,
    sum(charge_nano) AS charge_nano, sum(prompt_tokens + cached_tokens) AS tokens_in,
    sum(completion_tokens + reasoning_tokens) AS tokens_out,
    coalesce(usage_cells_join(ttft_cells) FILTER (WHERE outcome = 'completed'), '{}') AS ttft_cells,
    coalesce(usage_cells_join(total_cells) FILTER (WHERE outcome = 'completed'), '{}') AS total_cells
  FROM usage_rollup GROUP BY organisation_id, span, starts_at, model) AS sums;

CREATE OR REPLACE FUNCTION usage_rollup_add(p_calls usage_call[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  WITH added AS MATERIALIZED (
    SELECT
      organisation_id, span, date_trunc(span, created_at, 'UTC') AS starts_at,
      key_id, user_id, model, deployment_id, outcome,
      count(*) AS calls, sum(charge_nano)::bigint AS charge_nano,
      sum(commission_nano)::bigint AS commission_nano,
      sum(prompt_tokens)::bigint AS prompt_tokens, sum(cached_tokens)::bigint AS cached_tokens,
      sum(completion_tokens)::bigint AS completion_tokens,
      sum(reasoning_tokens)::bigint AS reasoning_tokens,
      sum(rows)::bigint AS rows, sum(images)::bigint AS images,
      sum(queue_ms) AS queue_ms, sum(ttft_ms) AS ttft_ms, sum(total_ms) AS total_ms,
      coalesce(array_agg((usage_bucket(c.ttft_ms) << 32) + 1) FILTER (WHERE c.ttft_ms > 0), '{}')
        AS ttft_cells,
      coalesce(array_agg((usage_bucket(c.total_ms) << 32) + 1) FILTER (WHERE c.total_ms > 0), '{}')
        AS total_cells
    FROM unnest(p_calls) AS c CROSS JOIN (VALUES ('hour'), ('day')) AS spans (span)
    GROUP BY organisation_id, span, starts_at, key_id, user_id, model, deployment_id, outcome
    -- One order in every session: two writers of the same rows wait and cannot deadlock.
    ORDER BY organisation_id, span, starts_at, key_id, user_id, model, deployment_id, outcome
  ), kept AS (
    INSERT INTO usage_rollup AS r (
      organisation_id, span, starts_at, key_id, user_id, model, deployment_id, outcome,
      calls, charge_nano, commission_nano,
      prompt_tokens, cached_tokens, completion_tokens, reasoning_tokens, rows, images,
      queue_ms, ttft_ms, total_ms, ttft_cells, total_cells)
    SELECT * FROM added
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
      total_cells = usage_cells_add(r.total_cells, EXCLUDED.total_cells)
  )
  INSERT INTO usage_organisation_rollup AS r (
    organisation_id, span, starts_at, model, calls, failed, charge_nano, tokens_in, tokens_out,
    ttft_cells, total_cells)
  SELECT
    organisation_id, span, starts_at, model, sum(calls),
    coalesce(sum(calls) FILTER (WHERE outcome <> 'completed'), 0),
    sum(charge_nano), sum(prompt_tokens + cached_tokens), sum(completion_tokens + reasoning_tokens),
    coalesce(usage_cells_join(ttft_cells) FILTER (WHERE outcome = 'completed'), '{}'),
    coalesce(usage_cells_join(total_cells) FILTER (WHERE outcome = 'completed'), '{}')
  FROM added GROUP BY organisation_id, span, starts_at, model
  ORDER BY organisation_id, span, starts_at, model
  ON CONFLICT (organisation_id, span, starts_at, model) DO UPDATE SET
    calls = r.calls + EXCLUDED.calls,
    failed = r.failed + EXCLUDED.failed,
    charge_nano = r.charge_nano + EXCLUDED.charge_nano,
    tokens_in = r.tokens_in + EXCLUDED.tokens_in,
    tokens_out = r.tokens_out + EXCLUDED.tokens_out,
    ttft_cells = usage_cells_add(r.ttft_cells, EXCLUDED.ttft_cells),
    total_cells = usage_cells_add(r.total_cells, EXCLUDED.total_cells);
END
$$;

CREATE OR REPLACE FUNCTION usage_rollup_rebuild(p_from timestamptz, p_until timestamptz) RETURNS bigint
LANGUAGE plpgsql AS $$
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
    DELETE FROM usage_organisation_rollup
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
