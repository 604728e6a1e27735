-- Answers to calls with an Idempotency-Key. A row without a status is a running call. Its claim
-- expires, so that a dead router does not block the key for ever. Each call claims with its own
-- token: the token renews the claim while the call runs, and stops a call that lost its key to
-- another.
CREATE TABLE routing_idempotency (
    scope text NOT NULL,
    key text NOT NULL,
    fingerprint text NOT NULL,
    expires_at timestamptz NOT NULL,
    status integer,
    headers jsonb,
    body bytea,
    token text NOT NULL DEFAULT '',
    PRIMARY KEY (scope, key)
);
CREATE INDEX routing_idempotency_expiry ON routing_idempotency (expires_at);

-- Returns 'new' (the caller has the key, for the first time or still), 'running' (another call has
-- it), 'other' (the key has another payload) or 'done' with the answer.
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

CREATE FUNCTION routing_idempotency_purge() RETURNS bigint LANGUAGE sql AS $$
    WITH gone AS (DELETE FROM routing_idempotency WHERE expires_at <= now() RETURNING 1)
    SELECT count(*) FROM gone
$$;
