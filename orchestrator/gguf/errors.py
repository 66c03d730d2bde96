"""The one error of this package: a model file, or what is asked about it, cannot be right."""


class GgufError(ValueError):
    """Names the file, what is wrong with it, and what would help; never a crash in disguise."""
