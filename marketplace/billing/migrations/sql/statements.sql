-- What was issued stays as it was issued: a correction is in a later month's.
CREATE TRIGGER billing_statement_immutable BEFORE UPDATE OR DELETE ON billing_statement
  FOR EACH ROW EXECUTE FUNCTION billing_refuse();
CREATE TRIGGER billing_statement_no_truncate BEFORE TRUNCATE ON billing_statement
  FOR EACH STATEMENT EXECUTE FUNCTION billing_refuse();
