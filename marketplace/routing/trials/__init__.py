"""Tables of tuning: trials of policies, their evidence, and the history of routes."""
