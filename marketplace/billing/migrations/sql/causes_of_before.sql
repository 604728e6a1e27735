-- Causes of what was posted before they were written down, as far as they can be derived. For the
-- rest somebody has to answer (manage.py ledger explain): the proof names each until then.

INSERT INTO billing_systemorder (transfer_id, rule, reason)
SELECT t.id, r.rule, 'Told by its key when causes were first kept.'
FROM billing_transfer t
JOIN billing_account a ON a.id = t.credit_id
JOIN accounts_organisation o ON o.id = a.organisation_id
JOIN (VALUES
  ('grant:benchmarks:%', 'waypost-benchmarks', 'system: benchmarks'),
  ('grant:generated-%', 'generated-%', 'system: generated history'),
  ('grant:demo:welcome', 'demo', 'system: demo')
) AS r (idem_key, slug, rule) ON t.idem_key LIKE r.idem_key AND o.slug LIKE r.slug
WHERE t.kind = 'grant' AND NOT EXISTS (
  SELECT FROM billing_stafftransfer s WHERE s.transfer_id = t.id);

-- Django's admin kept who recorded a payout there.
INSERT INTO billing_stafftransfer (transfer_id, reason, ordered_by_id)
SELECT DISTINCT ON (t.id) t.id, 'Payout ' || substr(t.idem_key, 8), l.user_id
FROM django_admin_log l
JOIN django_content_type c ON c.id = l.content_type_id
  AND c.app_label = 'billing' AND c.model = 'payout'
JOIN billing_transfer t ON t.id::text = l.object_id AND t.kind = 'payout'
WHERE l.action_flag = 1
ORDER BY t.id, l.id;
