"""How many tokens a call has, and how much credit is held for them."""
