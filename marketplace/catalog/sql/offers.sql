-- Charges refer to published prices, so these are superseded, never edited.
CREATE FUNCTION catalog_refuse_offer_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION '% of offer % is refused: publish a new offer', TG_OP, OLD.id;
END
$$;
CREATE TRIGGER catalog_offer_immutable BEFORE UPDATE OR DELETE ON catalog_offer
  FOR EACH ROW EXECUTE FUNCTION catalog_refuse_offer_change();
