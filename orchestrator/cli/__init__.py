"""The command line: what works alone, and what asks a running daemon."""
