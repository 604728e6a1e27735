-- The membership of routers, and how many slots of each worker each router may use. Only
-- routing_beat and routing_leave write here; the routers call them.

CREATE TABLE routing_router (
    router_id text PRIMARY KEY,
    url text NOT NULL,
    demands jsonb NOT NULL,
    expires_at timestamptz NOT NULL,
    -- The router's state of shared engines, for the other routers.
    word jsonb NOT NULL DEFAULT '{}'
);

CREATE TABLE routing_slot_lease (
    worker_id text NOT NULL,
    router_id text NOT NULL REFERENCES routing_router ON DELETE CASCADE,
    slots integer NOT NULL CHECK (slots >= 0),
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (worker_id, router_id)
);

-- Extend the membership by ttl_s. claims: {worker_id: {"wanted": n, "slots": the worker's slots}};
-- its_word is for the other routers.
-- Returns {"members": [{router_id, url, demands, word}], "granted": {worker_id: n}}. The grants on a
-- worker never sum to more than its slots: one lock orders all beats.
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
