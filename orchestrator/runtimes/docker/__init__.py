"""Runs servers in Docker containers."""
