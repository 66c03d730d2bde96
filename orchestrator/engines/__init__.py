"""Kinds of servers: how they are launched, what they say, and why they ended.

An engine is composed (`composed`) of a launcher, a talker and a log reader. Launchers:
`llama/local`, `llama/container`, `xllamacpp/launcher`, `fake`, `defined_elsewhere`. Talkers:
`llama/talker`, `llama/router`, `health_path`, all with the client of `http`. The log reader of all:
`llama/log`.
"""
