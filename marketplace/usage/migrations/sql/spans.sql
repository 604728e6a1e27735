-- Days lie apart from the many more hours, so that a quarter of days is read from few pages.

ALTER TABLE usage_rollup RENAME TO usage_rollup_whole;
CREATE TABLE usage_rollup (LIKE usage_rollup_whole INCLUDING DEFAULTS) PARTITION BY LIST (span);
DROP TABLE usage_rollup_whole;
-- A hot row is written with each batch: room on its page keeps that off the indexes.
CREATE TABLE usage_rollup_hour PARTITION OF usage_rollup FOR VALUES IN ('hour')
  WITH (fillfactor = 70);
CREATE TABLE usage_rollup_day PARTITION OF usage_rollup FOR VALUES IN ('day')
  WITH (fillfactor = 70);
ALTER TABLE usage_rollup ADD CONSTRAINT usage_rollup_pkey PRIMARY KEY
  (organisation_id, span, starts_at, key_id, user_id, model, deployment_id, outcome);
