"""Whether live traffic drifts from what the router expects, and by how much."""
