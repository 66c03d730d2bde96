"""Inputs that no one would write, against the code that reads inputs from outside.

A target is a plain function of bytes that raises when a promise is broken. `make fuzz` drives the
targets for a budget of seconds: guided by coverage where atheris can be installed, by blind
mutations elsewhere. A finding stays in build/fuzz/TARGET and is replayed by its path. Mend it, and
put what it came down to into the unit tests of the module that was wrong.
"""
