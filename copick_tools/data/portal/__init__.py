"""The CryoET Data Portal: ask it, and choose of its answers. No bytes of data are fetched here."""
