"""How residents come, serve and leave: the scheduler and its parts."""
