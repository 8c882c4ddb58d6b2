"""One module a command: NAME, HELP, DESCRIPTION, EXAMPLES, add_arguments(parser), run(options)."""
from vitrify.commands import import_

ALL = (import_,)
