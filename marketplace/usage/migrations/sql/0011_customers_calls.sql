-- The platform's own calls, which are benchmarks, are not in the public sums.

SELECT set_config('search_path', format('%I, pg_temp', current_schema()), true);

CREATE OR REPLACE FUNCTION usage_deployment_rollup_refresh(p_hours_from timestamptz, p_days_from timestamptz)
RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
  v_made bigint;
BEGIN
  PERFORM pg_advisory_xact_lock(hashtext('usage_deployment_rollup_refresh'));
  DELETE FROM usage_deployment_rollup
    WHERE (span = 'hour' AND starts_at >= p_hours_from) OR (span = 'day' AND starts_at >= p_days_from);
  INSERT INTO usage_deployment_rollup (
    model, span, starts_at, deployment_id, calls, placed, faults, completed,
    tokens_in, tokens_out, tokens_answered, rows, images, queue_ms, ttft_ms, total_ms,
    ttft_cells, total_cells)
  SELECT
    model, span, starts_at, deployment_id, sum(calls),
    coalesce(sum(calls) FILTER (WHERE outcome <> 'rejected'), 0),
    coalesce(sum(calls) FILTER (WHERE outcome IN ('worker_failed', 'truncated')), 0),
    coalesce(sum(calls) FILTER (WHERE outcome = 'completed'), 0),
    sum(prompt_tokens + cached_tokens), sum(completion_tokens + reasoning_tokens),
    coalesce(sum(completion_tokens + reasoning_tokens) FILTER (WHERE outcome = 'completed'), 0),
    sum(rows), sum(images),
    coalesce(sum(queue_ms) FILTER (WHERE outcome = 'completed'), 0),
    coalesce(sum(ttft_ms) FILTER (WHERE outcome = 'completed'), 0),
    coalesce(sum(total_ms) FILTER (WHERE outcome = 'completed'), 0),
    coalesce(usage_cells_fold(usage_cells_sum(ttft_cells) FILTER (WHERE outcome = 'completed')), '{}'),
    coalesce(usage_cells_fold(usage_cells_sum(total_cells) FILTER (WHERE outcome = 'completed')), '{}')
  FROM usage_rollup
  WHERE ((span = 'hour' AND starts_at >= p_hours_from)
         OR (span = 'day' AND starts_at >= p_days_from))
    -- What organisations list for themselves alone is named ~organisation/slug, and is not public.
    AND model NOT LIKE '~%'
    AND organisation_id NOT IN (SELECT id FROM accounts_organisation WHERE slug LIKE 'waypost-%')
  GROUP BY model, span, starts_at, deployment_id;
  GET DIAGNOSTICS v_made = ROW_COUNT;
  RETURN v_made;
END
$$;
