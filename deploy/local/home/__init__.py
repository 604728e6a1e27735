"""What a stack keeps under its folder, and what its environment says."""
