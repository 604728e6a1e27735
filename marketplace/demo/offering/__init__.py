"""The models, pools and prices of the demo. Real models run on this machine; emulated ones say so.

Prices are the demo's own, of the magnitude that such models cost on public markets.
"""
