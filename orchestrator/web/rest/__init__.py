"""The routes: bodies in, answers out."""
