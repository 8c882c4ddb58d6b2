"""How the package reports what a user can put right."""


class VitrifyError(Exception):
    """One message: lower case, no final period, with what was expected and what was found. The command prints it and exits 1.

    code: for errors of the runtime, what kind: "invalid argument", "not found", "data loss", "unsupported", "resource exhausted", "internal",
    "device error" or "cancelled"; "" for all others.
    """

    def __init__(self, message, code=""):
        super().__init__(message)
        self.code = code
