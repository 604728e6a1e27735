-- Calls that were refused before they ran.

-- p_counts is a JSON array of router.ports.RefusalCount with their calls.
CREATE FUNCTION usage_refusals_add(p_counts jsonb) RETURNS void LANGUAGE sql AS $$
  INSERT INTO usage_refusal AS r (
    organisation_id, starts_at, key_id, user_id, model, code, calls)
  SELECT organisation_id, to_timestamp(starts_at_ms / 1000), key_id, user_id, model, code, calls
  FROM jsonb_to_recordset(p_counts) AS c(
    organisation_id bigint, starts_at_ms bigint, key_id bigint, user_id bigint, model text,
    code text, calls bigint)
  -- One order in every session: two routers wait for each other and cannot deadlock.
  ORDER BY organisation_id, starts_at_ms, key_id, user_id, model, code
  ON CONFLICT (organisation_id, starts_at, key_id, user_id, model, code)
    DO UPDATE SET calls = r.calls + EXCLUDED.calls
$$;
