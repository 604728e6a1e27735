"""What the public is told: whether the parts work, since when one does not, how models did."""
