"""Runs servers in Docker containers.

`runtime` is the port; `create` says what a container of ours looks like, `handle` how it is found
again, `failures` why Docker refused. `engine` and `client` talk to Docker through its SDK, `events`
listens to it, `liveness` knows whether it answers. `leftovers` cleans up after failed starts, and
`images` pulls what is missing.
"""
