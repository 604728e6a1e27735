-- By month of the request id, so that old months are taken out whole. The default partition is
-- the safety net: the proof of the books reports rows in it.
ALTER TABLE usage_event RENAME TO usage_event_plain;
CREATE TABLE usage_event (LIKE usage_event_plain INCLUDING DEFAULTS INCLUDING CONSTRAINTS)
  PARTITION BY RANGE (request_id);
DROP TABLE usage_event_plain;
ALTER TABLE usage_event ADD CONSTRAINT usage_event_pkey PRIMARY KEY (request_id);
CREATE TABLE usage_event_default PARTITION OF usage_event DEFAULT;

-- Days lie apart from the many more hours, so that a quarter of days is read from few pages.
-- A hot row is written with each batch: room on its page keeps that off the indexes.
ALTER TABLE usage_rollup RENAME TO usage_rollup_plain;
CREATE TABLE usage_rollup (LIKE usage_rollup_plain INCLUDING DEFAULTS) PARTITION BY LIST (span);
DROP TABLE usage_rollup_plain;
ALTER TABLE usage_rollup ADD CONSTRAINT usage_rollup_pkey PRIMARY KEY
  (organisation_id, span, starts_at, key_id, user_id, model, deployment_id, outcome);
CREATE TABLE usage_rollup_hour PARTITION OF usage_rollup FOR VALUES IN ('hour') WITH (fillfactor = 70);
CREATE TABLE usage_rollup_day PARTITION OF usage_rollup FOR VALUES IN ('day') WITH (fillfactor = 70);
ALTER TABLE usage_caller_rollup SET (fillfactor = 70);
