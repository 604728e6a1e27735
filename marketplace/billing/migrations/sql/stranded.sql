-- What open leases hold of an account, or of one of its budgets (0 is the account itself), that no
-- router which runs will give back by itself: each life of a router has an advisory lock for as long
-- as it is connected. The asking life is there, whatever its connection.
CREATE FUNCTION billing_lease_stranded(p_account_id bigint, p_budget_id bigint, p_life text)
RETURNS bigint LANGUAGE sql AS $$
  SELECT coalesce(sum(billing_lease_rest(l)), 0)::bigint FROM billing_lease l
  WHERE l.account_id = p_account_id AND l.state = 'open' AND l.life <> p_life
    AND (p_budget_id = 0 OR p_budget_id = ANY (l.budgets))
    AND NOT EXISTS (
      SELECT FROM pg_locks AS held
      WHERE held.locktype = 'advisory' AND held.granted AND held.objsubid = 2
        AND held.database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND held.classid::bigint = hashtext('waypost_life')::bigint & 4294967295
        AND held.objid::bigint = hashtext(l.life)::bigint & 4294967295)
$$;
