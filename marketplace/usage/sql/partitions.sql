-- usage_event is partitioned by month. Request ids are UUIDv7: their first 48 bits are the Unix
-- milliseconds of created_at, so that a range of ids is a range of time and the primary key stays
-- request_id.

-- The search path of SECURITY DEFINER functions (FROM CURRENT): no caller's table replaces ours.
SELECT set_config('search_path', format('%I, pg_temp', current_schema()), true);

CREATE FUNCTION usage_uuid7_floor(p_at timestamptz) RETURNS uuid
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
  SELECT (lpad(to_hex(floor(extract(epoch FROM p_at) * 1000)::bigint), 12, '0')
          || repeat('0', 20))::uuid
$$;

-- Create the missing months (UTC) between two times; returns how many. Rows of these months move out
-- of the default partition.
CREATE FUNCTION usage_partitions_make(p_from timestamptz, p_until timestamptz) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
  v_month timestamptz := date_trunc('month', p_from, 'UTC');
  v_next timestamptz;
  v_name text;
  v_bounds text;
  v_made integer := 0;
BEGIN
  PERFORM pg_advisory_xact_lock(hashtext('usage_partitions_make'));
  WHILE v_month <= p_until LOOP
    v_next := (v_month AT TIME ZONE 'UTC' + interval '1 month') AT TIME ZONE 'UTC';
    v_name := to_char(v_month AT TIME ZONE 'UTC', '"usage_event_"YYYY_MM');
    IF to_regclass(v_name) IS NULL THEN
      EXECUTE format('CREATE TABLE %I (LIKE usage_event INCLUDING DEFAULTS INCLUDING CONSTRAINTS)',
                     v_name);
      LOCK TABLE usage_event_default IN SHARE ROW EXCLUSIVE MODE;
      v_bounds := format('%L AND request_id < %L',
                         usage_uuid7_floor(v_month), usage_uuid7_floor(v_next));
      EXECUTE format('WITH moved AS (DELETE FROM usage_event_default WHERE request_id >= %s '
                     'RETURNING *) INSERT INTO %I SELECT * FROM moved', v_bounds, v_name);
      EXECUTE format('ALTER TABLE usage_event ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                     v_name, usage_uuid7_floor(v_month), usage_uuid7_floor(v_next));
      v_made := v_made + 1;
    END IF;
    v_month := v_next;
  END LOOP;
  RETURN v_made;
END
$$;
