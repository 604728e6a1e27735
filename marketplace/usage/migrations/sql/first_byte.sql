-- The first byte of an answer that is not streamed is its last: it says nothing of how soon one begins,
-- and would credit its tokens with no time. Rollups count first bytes of streams alone.
CREATE OR REPLACE FUNCTION usage_call_of(e usage_event) RETURNS usage_call LANGUAGE sql IMMUTABLE AS $$
  SELECT ROW(
    e.request_id, e.created_at, e.lease_id, e.account_id,
    e.organisation_id, e.key_id, e.user_id, e.model, e.outcome,
    e.deployment_id, e.provider_account_id, e.charge_nano, e.commission_nano,
    e.prompt_tokens, e.cached_tokens, e.completion_tokens, e.reasoning_tokens,
    e.rows, e.images, e.queue_ms, CASE WHEN e.streamed THEN e.ttft_ms ELSE 0 END, e.total_ms)::usage_call
$$;

-- Of all days whose calls are still kept: the proof of the books compares them. Where months were
-- taken out, the rollups of those stay as they are.
SELECT usage_rollup_rebuild(
  greatest(min(starts_at), (SELECT max(before) FROM usage_detachment)), now())
FROM usage_rollup WHERE span = 'day' HAVING min(starts_at) IS NOT NULL;
