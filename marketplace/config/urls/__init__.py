"""The URLs of everything that the control plane serves."""
