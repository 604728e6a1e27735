"""Asking for inference on a caller's behalf: who calls, with which token, by which client."""
