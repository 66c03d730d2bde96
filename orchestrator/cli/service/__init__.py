"""The word `service`: the daemon as a service of systemd, of the system or of one user."""
