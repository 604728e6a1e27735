DO $$
DECLARE
  v_writer regprocedure;
BEGIN
  FOR v_writer IN
    SELECT oid::regprocedure FROM pg_proc
    WHERE prosecdef AND pronamespace = current_schema()::regnamespace
      AND proname ~ '^(billing|usage)_'
  LOOP
    EXECUTE format('ALTER FUNCTION %s SECURITY INVOKER', v_writer);
    EXECUTE format('ALTER FUNCTION %s RESET search_path', v_writer);
  END LOOP;
END
$$;
DROP FUNCTION billing_accounts_lock(bigint), billing_account_lock(bigint), billing_statements_lock();
