"""`orchestrator connect`: the settings with which a client finds the daemon, shown or written."""
