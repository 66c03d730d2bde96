"""Talks to things: what to launch, whether it is ready, whether it is in use."""
