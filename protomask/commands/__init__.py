"""One file per command: ``HELP``, ``DESCRIPTION``, ``add_arguments(parser)`` and ``run(arguments) -> exit code``.

The files import nothing heavy before ``run``, so that ``--help`` answers at once. An optional ``INTERRUPTED`` says how
to go on after a command was stopped; where that depends on how far it came, a function
``interrupted(arguments)`` does.
"""

__all__ = [
    "arguments",
    "check",
    "compare",
    "evaluate",
    "explain",
    "import_official",
    "localize",
    "messages",
    "project",
    "prune",
    "report",
    "serve",
    "train",
]
