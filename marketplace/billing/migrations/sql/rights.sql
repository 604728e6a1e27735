-- The ledger's writers run as the owner of its tables, whoever calls them: the services' own role may
-- call these functions and write nothing else of the books (marketplace/billing/rights.py). Their
-- search path is fixed, with pg_temp last: a caller's own tables do not stand in for the ledger's.

-- Hold an organisation's accounts and the platform's cash until the transaction ends, in the ledger's
-- order. Locking a row takes the right to change it, which the services have not.
CREATE FUNCTION billing_accounts_lock(p_organisation bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM 1 FROM billing_account
    WHERE organisation_id = p_organisation OR debtor_id = p_organisation OR kind = 'cash'
    ORDER BY id FOR UPDATE;
END
$$;

-- Of one account. What only refers to it need not wait.
CREATE FUNCTION billing_account_lock(p_account bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM 1 FROM billing_account WHERE id = p_account FOR NO KEY UPDATE;
END
$$;

-- Only one issues statements at a time; readers go on.
CREATE FUNCTION billing_statements_lock() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  LOCK TABLE billing_statement IN SHARE ROW EXCLUSIVE MODE;
END
$$;

DO $$
DECLARE
  v_writer regprocedure;
BEGIN
  FOREACH v_writer IN ARRAY ARRAY[
    'billing_transfer_post(bigint, bigint, bigint, text, text)',
    'billing_settle(jsonb)',
    'billing_lease_take(uuid, text, text, bigint, bigint[], bigint, bigint, float8)',
    'billing_lease_extend(uuid, float8)',
    'billing_lease_grow(uuid, bigint, bigint)',
    'billing_lease_shrink(uuid, bigint)',
    'billing_lease_close(uuid)',
    'billing_budget_change(bigint, bigint, text)',
    'billing_accounts_lock(bigint)',
    'billing_account_lock(bigint)',
    'billing_statements_lock()',
    'usage_partitions_make(timestamptz, timestamptz)',
    'usage_rollup_rebuild(timestamptz, timestamptz)'
  ]::regprocedure[] LOOP
    EXECUTE format('ALTER FUNCTION %s SECURITY DEFINER', v_writer);
    EXECUTE format('ALTER FUNCTION %s SET search_path = %I, pg_temp', v_writer, current_schema());
  END LOOP;
END
$$;
