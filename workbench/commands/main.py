"""The `workbench` command: the package's verbs for schedulers and shells.

Packages add commands by entry points.
"""

from __future__ import annotations

import argparse
import inspect
import os
import sys
from importlib.metadata import entry_points

from workbench.backends import EngineError
from workbench.errors import DefinitionError
from workbench.online.errors import StoreError
from workbench.online.legible_text import lines

GROUP = "feature_workbench.commands"
CODES = (
    "Exit codes: 0 done; 1 done, and what was asked about is not as it should be (compare: values"
    " differ; monitor: a watch, with --fail-on watch); 2 refused or failed, with one line on"
    " standard error that says why, or an alert (monitor, dashboard, consistency); 3 something was"
    " not judged (the same)."
)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line, with every installed command.

    A command is a function that adds its arguments to a parser and returns what runs them; its
    docstring is its help.
    """
    root = argparse.ArgumentParser(
        prog="workbench",
        description="Feature Workbench: one definition, the same number everywhere.",
        epilog=CODES,
    )
    commands = root.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for entry in sorted(entry_points(group=GROUP), key=lambda e: e.name):
        command = entry.load()
        text = inspect.cleandoc(command.__doc__ or "")
        sub = commands.add_parser(
            entry.name,
            help=text.partition("\n")[0],
            description=text,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        sub.set_defaults(run=command(sub))
    return root


def main(arguments: list[str] | None = None) -> int:
    """Run one command, and return its exit code.

    Errors of definitions, data, engines and stores are one line on standard error and 2.
    """
    options = parser().parse_args(arguments)
    try:
        code = options.run(options) or 0
        sys.stdout.flush()
    except (DefinitionError, EngineError, StoreError) as error:
        sys.stderr.write(f"workbench {options.command}: {lines(str(error))}\n")
        return 2
    except BrokenPipeError:  # whoever reads has enough, as `head` has
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:  # a file, a folder or a port that was named
        where = f" {error.filename}" if error.filename else ""
        why = lines(f"cannot use{where}: {error.strerror or error}")
        sys.stderr.write(f"workbench {options.command}: {why}; name another place, or mend this\n")
        return 2
    return int(code)
