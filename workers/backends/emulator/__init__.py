"""Emulated workers: they speak the real protocols and answer synthetically after a real delay."""
