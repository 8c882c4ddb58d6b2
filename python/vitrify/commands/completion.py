"""vitrify completion: what a shell completes after `vitrify`."""
from vitrify.errors import VitrifyError

NAME = "completion"
HELP = "print a script that completes vitrify's commands and options in a shell"
DESCRIPTION = """Prints a script for bash, zsh or tcsh that completes commands, options and their values."""
EXAMPLES = """  vitrify completion bash > ~/.local/share/bash-completion/completions/vitrify
  vitrify completion zsh > "${fpath[1]}/_vitrify\""""


def add_arguments(parser):
    parser.add_argument("shell", choices=("bash", "zsh", "tcsh"), help="the shell")


def run(options):
    from vitrify.cli import build_parser

    try:
        import shtab
    except ImportError as error:
        raise VitrifyError("the package shtab is missing: pip install shtab") from error
    print(shtab.complete(build_parser(), options.shell))
