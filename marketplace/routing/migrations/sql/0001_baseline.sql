-- Sent at commit: a router that hears of a version can read it.
CREATE FUNCTION routing_snapshot_notify() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_notify('waypost_snapshot', NEW.version::text);
  RETURN NULL;
END
$$;
CREATE TRIGGER routing_snapshot_published AFTER INSERT ON routing_snapshot
  FOR EACH ROW EXECUTE FUNCTION routing_snapshot_notify();

-- Where several routers meet: who is there, and who may use how many slots of which worker.
-- Written by routing_beat and routing_leave alone, called by the routers.

CREATE TABLE routing_router (
    router_id text PRIMARY KEY,
    url text NOT NULL,
    demands jsonb NOT NULL,
    expires_at timestamptz NOT NULL,
    -- What routers tell each other of the engines that they share.
    word jsonb NOT NULL DEFAULT '{}'
);

CREATE TABLE routing_slot_lease (
    worker_id text NOT NULL,
    router_id text NOT NULL REFERENCES routing_router ON DELETE CASCADE,
    slots integer NOT NULL CHECK (slots >= 0),
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (worker_id, router_id)
);

-- Stay a member for ttl_s more. claims: {worker_id: {"wanted": n, "slots": of how many}}; its_word is
-- for the others.
-- Returns {"members": [{router_id, url, demands, word}], "granted": {worker_id: n}}. What is granted on
-- one worker never adds up to more than its slots: one lock orders all beats.
CREATE FUNCTION routing_beat(
    this_router text, this_url text, ttl_s double precision, its_demands jsonb, claims jsonb,
    its_word jsonb DEFAULT '{}'
) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    until timestamptz;
    granted jsonb;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('routing_cluster'));
    until := clock_timestamp() + make_interval(secs => ttl_s);
    DELETE FROM routing_router WHERE expires_at <= clock_timestamp();
    INSERT INTO routing_router (router_id, url, demands, expires_at, word)
    VALUES (this_router, this_url, its_demands, until, its_word)
    ON CONFLICT (router_id) DO UPDATE
        SET url = excluded.url, demands = excluded.demands, expires_at = excluded.expires_at,
            word = excluded.word;
    DELETE FROM routing_slot_lease WHERE router_id = this_router;
    WITH leased AS (
        INSERT INTO routing_slot_lease
        SELECT
            claim.key,
            this_router,
            greatest(0, least(
                (claim.value ->> 'wanted')::integer,
                (claim.value ->> 'slots')::integer - coalesce((
                    SELECT sum(other.slots)::integer FROM routing_slot_lease other
                    WHERE other.worker_id = claim.key
                ), 0)
            )),
            until
        FROM jsonb_each(claims) AS claim
        RETURNING worker_id, slots
    )
    SELECT coalesce(jsonb_object_agg(worker_id, slots), '{}') INTO granted FROM leased;
    RETURN jsonb_build_object(
        'members', (
            SELECT jsonb_agg(jsonb_build_object(
                'router_id', router_id, 'url', url, 'demands', demands, 'word', word
            ) ORDER BY router_id) FROM routing_router
        ),
        'granted', granted
    );
END $$;

CREATE FUNCTION routing_leave(this_router text) RETURNS void LANGUAGE sql AS $$
    DELETE FROM routing_router WHERE router_id = this_router;
$$;

-- Answers to calls that carry an Idempotency-Key. A row without a status is a call that runs; its
-- claim expires, so that a router's death does not block the key for ever. A claim is one call's own:
-- its token renews it while the call runs, and fences off a call that lost its key to another.
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

CREATE FUNCTION routing_idempotency_purge() RETURNS bigint LANGUAGE sql AS $$
    WITH gone AS (DELETE FROM routing_idempotency WHERE expires_at <= now() RETURNING 1)
    SELECT count(*) FROM gone
$$;

-- What happened to a route is added to and never rewritten.
CREATE FUNCTION routing_refuse_event_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION '% of routing event % is refused: what happened is not rewritten', TG_OP, OLD.id;
END
$$;
CREATE TRIGGER routing_event_immutable BEFORE UPDATE OR DELETE ON routing_routingevent
  FOR EACH ROW EXECUTE FUNCTION routing_refuse_event_change();
