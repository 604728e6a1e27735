"""Versioned wire types between the planes; the control plane imports them, never the reverse."""
