"""A stand-in for llama-server: a real process without a model, for trials and tests.

`server` is the program, `http` and `talk` are how it answers, and `claims` is the account of what
stand-ins hold of the fake devices.
"""
