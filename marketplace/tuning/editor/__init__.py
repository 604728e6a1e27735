"""Changing a route's policy by hand: drafts, what they differ in, publishing, canaries."""
