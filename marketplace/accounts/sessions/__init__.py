"""Sessions of signed-in people, and what ends with them."""
