-- One batch of emulated calls, written as billing_settle writes real ones: events, transfers,
-- balances and rollups by the same functions. A session makes these for itself: nothing that
-- invents calls stays in a database.

CREATE TEMP TABLE generated_source AS
SELECT row_number() OVER (ORDER BY k.id) - 1 AS n, k.id AS key_id, k.created_by_id AS user_id,
       k.organisation_id, a.id AS account_id
FROM accounts_apikey k
JOIN accounts_organisation o ON o.id = k.organisation_id AND o.slug LIKE 'generated-%'
JOIN billing_account a ON a.organisation_id = o.id;

CREATE TEMP TABLE generated_target AS
SELECT row_number() OVER (ORDER BY d.id) - 1 AS n, d.id AS deployment_id, m.name AS model,
       p.name AS pool, p.name || '-0' AS worker_id, f.id AS price_id,
       f.prompt_nano_per_million AS prompt_price, f.completion_nano_per_million AS answer_price,
       a.id AS provider_account_id
FROM catalog_deployment d
JOIN catalog_modelversion v ON v.id = d.version_id
JOIN catalog_aimodel m ON m.id = v.model_id
JOIN catalog_provider q ON q.id = d.provider_id AND q.slug LIKE 'generated-%'
JOIN billing_account a ON a.provider_id = q.id
JOIN catalog_pool p ON p.id = d.pool_id
JOIN catalog_offer f ON f.deployment_id = d.id;
ANALYZE generated_source;
ANALYZE generated_target;

-- p_rows calls spread over p_span_ms from p_from_ms on. Each key calls models of its own, some keys call
-- much more often than others, and each model has a speed of its own.
CREATE FUNCTION pg_temp.generate(p_rows integer, p_from_ms bigint, p_span_ms bigint) RETURNS bigint
LANGUAGE plpgsql SET waypost.ledger = 'on' AS $$
DECLARE
  v_calls usage_call[];
  v_charged usage_call[];
  v_commission bigint := (SELECT id FROM billing_account WHERE kind = 'commission');
  v_sources bigint := (SELECT count(*) FROM generated_source);
  v_targets bigint := (SELECT count(*) FROM generated_target);
BEGIN
  WITH drawn AS MATERIALIZED (
    SELECT p_from_ms + (i * p_span_ms) / p_rows AS ms,
           floor(v_sources * power(random(), 3))::bigint AS source,
           floor(v_targets / v_sources * power(random(), 2))::bigint AS turn,
           random() AS fate, md5(random()::text) AS entropy,
           1 + floor(4000 * power(random(), 3))::bigint AS prompt_tokens,
           1 + floor(600 * power(random(), 2))::bigint AS answer_tokens,
           random_normal() AS ease
    FROM generate_series(0, p_rows - 1) AS i
  ), shaped AS (
    SELECT s.account_id, s.organisation_id, s.key_id, s.user_id, t.*, d.ms, d.entropy, d.prompt_tokens, d.answer_tokens,
           CASE WHEN fate < 0.96 THEN 'completed' WHEN fate < 0.975 THEN 'client_gone'
                WHEN fate < 0.98 THEN 'truncated' WHEN fate < 0.99 THEN 'rejected'
                WHEN fate < 0.995 THEN 'refused' ELSE 'worker_failed' END AS outcome,
           CASE WHEN fate < 0.96 THEN 200 WHEN fate < 0.975 THEN 499 WHEN fate < 0.98 THEN 200
                WHEN fate < 0.99 THEN 429 WHEN fate < 0.995 THEN 422 ELSE 502 END AS http_status,
           fate < 0.98 AS ran, 20 * exp((t.n % 25) / 8.0 + 0.4 * ease) AS ttft_ms
    FROM drawn d
    JOIN generated_source s ON s.n = d.source
    JOIN generated_target t ON t.n = d.source * v_targets / v_sources + d.turn
  ), priced AS (
    SELECT *, CASE WHEN ran THEN round((prompt_tokens * prompt_price + answer_tokens * answer_price)
                                       / 1e6)::bigint ELSE 0 END AS charge_nano,
           ttft_ms + answer_tokens * (2 + n % 9) AS total_ms
    FROM shaped
  ), inserted AS (
    INSERT INTO usage_event (
      request_id, created_at, settled_at, router_id, lease_id, account_id, organisation_id,
      key_id, user_id, model, kind, outcome, http_status, streamed, finish_reason,
      deployment_id, price_id, provider_account_id, worker_id, pool,
      hold_nano, charge_nano, commission_nano,
      prompt_tokens, cached_tokens, completion_tokens, reasoning_tokens, rows, images,
      queue_ms, ttft_ms, upstream_ms, total_ms, attempts, candidates)
    SELECT
      (lpad(to_hex(ms), 12, '0') || '7' || left(entropy, 3) || '8' || substr(entropy, 4, 15))::uuid,
      to_timestamp(ms / 1000.0), to_timestamp(ms / 1000.0), 'generated', NULL, account_id,
      organisation_id, key_id, user_id, model, 'chat', outcome, http_status, true,
      CASE WHEN ran THEN 'stop' ELSE '' END, deployment_id, price_id, provider_account_id,
      worker_id, pool, 2 * charge_nano, charge_nano, charge_nano / 10,
      CASE WHEN ran THEN prompt_tokens ELSE 0 END, 0,
      CASE WHEN ran THEN answer_tokens ELSE 0 END, 0, 0, 0,
      ttft_ms / 20, CASE WHEN ran THEN ttft_ms ELSE 0 END, total_ms, total_ms,
      jsonb_build_array(jsonb_build_object(
        'deployment_id', deployment_id, 'worker_id', worker_id, 'pool', pool, 'outcome', outcome,
        'queue_ms', ttft_ms / 20, 'upstream_ms', total_ms)),
      '[]'
    FROM priced
    RETURNING usage_call_of(usage_event) AS call
  )
  SELECT array_agg(call) INTO v_calls FROM inserted;
  v_charged := ARRAY(SELECT c FROM unnest(v_calls) AS c WHERE c.charge_nano > 0);
  PERFORM billing_settle_transfer(v_charged, v_commission);
  PERFORM usage_rollup_add(v_calls);
  RETURN cardinality(v_calls);
END
$$;
