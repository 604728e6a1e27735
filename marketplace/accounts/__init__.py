"""Who may do what: users, organisations, memberships and API keys."""
