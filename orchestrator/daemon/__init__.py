"""The life of the process: drivers composed, what outlived us adopted, timers, shutdown."""
