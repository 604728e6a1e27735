CREATE TABLE usage_event_whole (LIKE usage_event INCLUDING DEFAULTS);
INSERT INTO usage_event_whole SELECT * FROM usage_event;
DROP TABLE usage_event;
DROP FUNCTION usage_partitions_make(timestamptz, timestamptz), usage_uuid7_floor(timestamptz);
ALTER TABLE usage_event_whole RENAME TO usage_event;
ALTER TABLE usage_event ADD CONSTRAINT usage_event_pkey PRIMARY KEY (request_id);
CREATE INDEX usage_by_organisation ON usage_event (organisation_id, created_at DESC);
CREATE INDEX usage_by_time ON usage_event (created_at DESC);
