-- The record of looks is append-only.
CREATE FUNCTION support_refuse_look_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION '% of look % is refused: what happened is not rewritten', TG_OP, OLD.id;
END
$$;
CREATE TRIGGER support_look_immutable BEFORE UPDATE OR DELETE ON support_look
  FOR EACH ROW EXECUTE FUNCTION support_refuse_look_change();
