"""Code that every app of the control plane may import; it imports none of them."""
