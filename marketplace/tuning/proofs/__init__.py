"""What recorded calls say of a policy, replayed under it."""
