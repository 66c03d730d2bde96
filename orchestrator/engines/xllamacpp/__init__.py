"""llama.cpp inside a Python wheel: no compiler, no binary.

`launcher` starts `server`, and both read in `flags` which flags there are.
"""
