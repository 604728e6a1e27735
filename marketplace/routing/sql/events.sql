-- The history of a route is append-only.
CREATE FUNCTION routing_refuse_event_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION '% of routing event % is refused: what happened is not rewritten', TG_OP, OLD.id;
END
$$;
CREATE TRIGGER routing_event_immutable BEFORE UPDATE OR DELETE ON routing_routingevent
  FOR EACH ROW EXECUTE FUNCTION routing_refuse_event_change();
