"""The one error that a user can cause."""


class InputError(ValueError):
    """Bad input: a file, an option or a value that the user can mend.

    The message is one line that names the thing and the mend. The commands print it and exit with code 2; library users
    can catch it as a :class:`ValueError`.
    """
