"""Models that are found among the files of this machine: what a sweep saw, and what follows."""
