"""The life of the process: drivers chosen, what still runs adopted, timers, shutdown."""
