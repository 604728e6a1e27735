"""What the platform's staff see of a customer, read-only; each look is itself kept."""
