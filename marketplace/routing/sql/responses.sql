-- Turns of conversations, by the id of their response. Routers keep and find them. `items` is the
-- input of the turn alone: what came before is in the turn that it went on from.
CREATE TABLE routing_response (
    id text PRIMARY KEY,
    organisation_id bigint NOT NULL,
    previous_id text NOT NULL,
    items text NOT NULL,
    body text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL
);
CREATE INDEX routing_response_expiry ON routing_response (expires_at);
CREATE INDEX routing_response_organisation ON routing_response (organisation_id);

-- Also those of organisations that keep none any more, or that are gone.
CREATE FUNCTION routing_response_purge() RETURNS bigint LANGUAGE sql AS $$
    WITH gone AS (
        DELETE FROM routing_response WHERE expires_at <= now() OR NOT EXISTS (
            SELECT FROM accounts_organisation o
            WHERE o.id = routing_response.organisation_id AND o.keeps_responses
        ) RETURNING 1
    )
    SELECT count(*) FROM gone
$$;
