"""What is believed of a model's needs, and what could be given up when it does not fit."""
