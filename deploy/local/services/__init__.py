"""The services of a stack, and the supervisor that runs them."""
