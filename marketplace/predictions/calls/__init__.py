"""From a model and an input to the call that answers it, and what the answer says."""
