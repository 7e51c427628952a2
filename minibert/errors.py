"""The exceptions for what a person can correct."""


class InputError(ValueError):
    """Something given from outside (a file, a checkpoint, a setting) cannot be used.

    The message is one or two plain sentences that name the file, line or setting and say what to do next. The
    command line prints it as it is and exits with status 2.
    """


class Diverged(InputError):
    """A run whose loss is no number any more; another seed or a lower rate may go well."""
