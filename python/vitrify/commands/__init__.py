"""One module a command: NAME, HELP, DESCRIPTION, EXAMPLES, add_arguments(parser), run(options)."""
from vitrify.commands import bench, calibrate, compare, compile, completion, import_, report, run

ALL = (import_, calibrate, compile, run, compare, bench, report, completion)
