-- Notify at commit, so that a router can read the version it hears of.
CREATE FUNCTION routing_snapshot_notify() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_notify('waypost_snapshot', NEW.version::text);
  RETURN NULL;
END
$$;
CREATE TRIGGER routing_snapshot_published AFTER INSERT ON routing_snapshot
  FOR EACH ROW EXECUTE FUNCTION routing_snapshot_notify();
