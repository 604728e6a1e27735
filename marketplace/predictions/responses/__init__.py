"""A prediction as clients, webhooks, streams and pages get it."""
