"""Runs what engines ask for, and finds it again after a restart.

`docker/` and `process/` start servers, `external` watches those that their owners run, and `fake/`
is a whole machine in memory.
"""
