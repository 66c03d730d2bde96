"""The client for asyncio: the same file names as in `blocking/`."""
