"""How the package reports what a user can put right."""


class VitrifyError(Exception):
    """One message: lower case, no final period, with what was expected and what was found. The command prints it and exits 1."""
