"""What is broken on purpose: which faults there are, and which tests inject them."""
