"""The `forebay` command: one group, one module per subcommand."""

import importlib
import importlib.util
import sys

import click

from forebay import __version__

EXIT_CODES = """\b
Exit codes:
  0  done
  1  failed while running; the log says why
  2  the command, its options or a file is wrong; one sentence says what to change
  3  `run` lost its lease to another replica (a restart is expected)
  130  interrupted
"""

#: Subcommand, the module that has it, and its one line for --help. Modules are imported when used, so that
#: `forebay crds` does not pay for kopf, nor `forebay run` for the simulator.
_COMMANDS = {
    "run": ("forebay.cli.run", "Run the operator."),
    "explain": ("forebay.cli.explain", "Say why a pool has the replicas that it has."),
    "replay": (
        "forebay.offline.replay.command",
        "Replay recorded traffic under Forebay and under other autoscalers.",
    ),
    "crds": ("forebay.cli.crds", "Print the CustomResourceDefinitions."),
}


class LazyGroup(click.Group):
    """A group that imports a subcommand when it is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names in the order of the table."""
        return [name for name, (module, _) in _COMMANDS.items() if _installed(module)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import and return a subcommand; each module calls its command `command`."""
        if cmd_name not in _COMMANDS:
            return None
        if not _installed(_COMMANDS[cmd_name][0]):
            raise click.UsageError(
                f"there is no {cmd_name} here: the operator's image leaves it out; install the package forebay"
            )
        command = importlib.import_module(_COMMANDS[cmd_name][0]).command
        if not isinstance(command, click.Command):
            raise TypeError(f"{_COMMANDS[cmd_name][0]}.command is no click command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the subcommands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, _COMMANDS[name][1]) for name in self.list_commands(ctx)])


def _installed(module: str) -> bool:
    """Return whether a subcommand's package is here: the operator's image has no replay."""
    package = ".".join(module.split(".")[:2])
    return importlib.util.find_spec(package) is not None


@click.group(cls=LazyGroup, epilog=EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "--version", message="forebay %(version)s")
def cli() -> None:
    """Forebay keeps an LLM inference fleet at the cheapest capacity that meets its latency objectives.

    \b
    Try it without a cluster:   forebay replay --help
    Ask why a pool is so big:   forebay explain NAMESPACE/NAME
    Every command explains itself with --help.
    """  # noqa: D301  (click reads the backspace as "do not wrap")


def main() -> None:
    """Run the command line; errors of use end with code 2, an interrupt with 130."""
    try:
        # Without standalone mode click returns the code of `ctx.exit(code)` instead of ending with it.
        code = cli.main(standalone_mode=False)
    except click.exceptions.Abort:
        click.echo("interrupted", err=True)
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    else:
        sys.exit(code if isinstance(code, int) else 0)
