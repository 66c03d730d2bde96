"""llama.cpp's server: as a local process, in a container, or somebody else's."""
