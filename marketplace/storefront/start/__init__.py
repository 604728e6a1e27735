"""The first call of a new customer: a key, a request to send, and where it went."""
