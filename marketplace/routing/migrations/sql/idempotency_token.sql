-- A claim is one call's own: its token renews it while the call runs, and fences off a call that lost
-- its key to another.
ALTER TABLE routing_idempotency ADD COLUMN token text NOT NULL DEFAULT '';
DROP FUNCTION routing_idempotency_claim(text, text, text, double precision);

-- 'new' (the call that asks has the key, for the first time or still), 'running' (another has it),
-- 'other' (another payload) or 'done' with the answer.
CREATE FUNCTION routing_idempotency_claim(
    p_scope text, p_key text, p_token text, p_fingerprint text, p_ttl_s double precision
) RETURNS TABLE (state text, status integer, headers jsonb, body bytea) LANGUAGE plpgsql AS $$
DECLARE
    before routing_idempotency;
BEGIN
    INSERT INTO routing_idempotency AS kept (scope, key, token, fingerprint, expires_at)
    VALUES (p_scope, p_key, p_token, p_fingerprint, now() + make_interval(secs => p_ttl_s))
    ON CONFLICT (scope, key) DO UPDATE
        SET token = excluded.token, fingerprint = excluded.fingerprint,
            expires_at = excluded.expires_at, status = NULL, headers = NULL, body = NULL
        WHERE kept.expires_at <= now() OR (kept.token = p_token AND kept.status IS NULL);
    IF FOUND THEN
        RETURN QUERY SELECT 'new', NULL::integer, NULL::jsonb, NULL::bytea;
        RETURN;
    END IF;
    SELECT * INTO before FROM routing_idempotency AS kept
    WHERE kept.scope = p_scope AND kept.key = p_key;
    RETURN QUERY SELECT
        CASE
            WHEN before.fingerprint IS DISTINCT FROM p_fingerprint THEN 'other'
            WHEN before.status IS NULL THEN 'running'
            ELSE 'done'
        END,
        before.status, before.headers, before.body;
END $$;
