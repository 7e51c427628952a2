"""The one exception for input that a person can correct."""


class InputError(ValueError):
    """Something given from outside (a file, a checkpoint, a setting) cannot be used.

    The message is one or two plain sentences that name the file, line or setting and say what to do next. The
    command line prints it as it is and exits with status 2.
    """
