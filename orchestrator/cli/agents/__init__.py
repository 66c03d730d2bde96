"""The daemon for agents: its orders as tools of the Model Context Protocol, over its API."""
