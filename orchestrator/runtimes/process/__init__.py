"""Runs servers as processes of this machine.

`runtime` is the port; `spawn` starts a process, `handle` says how it is found again, `failures` why
it could not be started. `table` reads /proc, and `logs` keeps the servers' log files small.
"""
