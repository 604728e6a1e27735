"""A marketplace to try: an organisation with credit and a catalog over the local fleet."""
