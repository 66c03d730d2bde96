"""Configurations of other programs, and what a machine has, written as one of ours."""
