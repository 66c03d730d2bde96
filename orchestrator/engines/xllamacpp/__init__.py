"""llama.cpp inside a Python wheel: no compiler, no binary."""
