"""The command line: vitrify import | calibrate | compile | run | compare | bench | report | completion."""
import argparse
import os
import sys

from vitrify import commands
from vitrify.errors import VitrifyError


class _Parser(argparse.ArgumentParser):
    """Errors of the command line are one message and exit status 1, like all others."""

    def error(self, message):
        raise VitrifyError(f"{message} (see {self.prog} --help)")


def build_parser():
    parser = _Parser(prog="vitrify", description="Compiles vision transformers ahead of time and runs them.",
                     epilog="vitrify COMMAND --help shows the options and examples of a command.")
    parser.add_argument("--version", action="version", version="vitrify 0.1.0")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in commands.ALL:
        sub = subparsers.add_parser(command.NAME, help=command.HELP, description=command.DESCRIPTION, epilog="examples:\n" + command.EXAMPLES,
                                    formatter_class=argparse.RawDescriptionHelpFormatter)
        command.add_arguments(sub)
        sub.set_defaults(run=command.run)
    return parser


def main(arguments=None):
    """Entry point; returns the exit status: 0, or 1 after one message on standard error."""
    try:
        options = build_parser().parse_args(arguments)
        options.run(options)
        sys.stdout.flush()
    except VitrifyError as error:
        print(f"vitrify: error: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        print("vitrify: error: interrupted", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
