"""Acts for the scheduler: performs its effects, tells it what came of them."""
