"""The client for programs that wait: the same file names as in `asynchronous/`."""
