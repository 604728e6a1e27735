CREATE TRIGGER billing_writeoff_immutable BEFORE UPDATE OR DELETE ON billing_writeoff
  FOR EACH ROW EXECUTE FUNCTION billing_refuse();
CREATE TRIGGER billing_writeoff_no_truncate BEFORE TRUNCATE ON billing_writeoff
  FOR EACH STATEMENT EXECUTE FUNCTION billing_refuse();
