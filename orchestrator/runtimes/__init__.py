"""Runs things: containers, processes, servers of somebody else, or nothing at all."""
