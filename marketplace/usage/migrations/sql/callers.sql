-- Sums of days by who called what: those of usage_rollup over all deployments and endings, for the
-- figures that an organisation's pages show, and written with them.

-- Nothing settles until this is committed: each call counts in both or in neither.
LOCK TABLE usage_event IN SHARE ROW EXCLUSIVE MODE;

-- A hot row is written with each batch: room on its page keeps that off the indexes.
ALTER TABLE usage_caller_rollup SET (fillfactor = 70);

CREATE AGGREGATE usage_cells_join(bigint[]) (SFUNC = array_cat, STYPE = bigint[], INITCOND = '{}');

INSERT INTO usage_caller_rollup (
  organisation_id, starts_at, key_id, user_id, model,
  calls, failed, charge_nano, tokens_in, tokens_out, ttft_cells, total_cells)
SELECT
  organisation_id, starts_at, key_id, user_id, model,
  calls, failed, charge_nano, tokens_in, tokens_out,
  -- Added to nothing, a long bag is folded.
  usage_cells_add(ttft_cells, '{}'), usage_cells_add(total_cells, '{}')
FROM (
  SELECT
    organisation_id, starts_at, key_id, user_id, model, sum(calls) AS calls,
    coalesce(sum(calls) FILTER (WHERE outcome <> 'completed'), 0) AS failed,
    sum(charge_nano) AS charge_nano, sum(prompt_tokens + cached_tokens) AS tokens_in,
    sum(completion_tokens + reasoning_tokens) AS tokens_out,
    usage_cells_join(ttft_cells) FILTER (WHERE outcome = 'completed') AS ttft_cells,
    usage_cells_join(total_cells) FILTER (WHERE outcome = 'completed') AS total_cells
  FROM usage_rollup WHERE span = 'day'
  GROUP BY organisation_id, starts_at, key_id, user_id, model
  ORDER BY starts_at) AS sums;
DROP AGGREGATE usage_cells_join(bigint[]);

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

-- What settles calls usage_rollup_add: it goes on to do so, and writes both.
ALTER FUNCTION usage_rollup_add(usage_call[]) RENAME TO usage_rollup_add_apart;
CREATE FUNCTION usage_rollup_add(p_calls usage_call[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM usage_rollup_add_apart(p_calls);
  PERFORM usage_caller_rollup_add(p_calls);
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
    DELETE FROM usage_caller_rollup WHERE starts_at = v_day;
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
