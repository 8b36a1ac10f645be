"""The cell magic `%%feature_set`: runs a cell that defines a group-by or a join, and shows it.

With an option it publishes the definition too.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from IPython.core.error import UsageError
from IPython.core.magic import Magics, cell_magic, magics_class
from IPython.core.magic_arguments import argument, magic_arguments, parse_argstring

from workbench.definitions.group_by import GroupBy
from workbench.definitions.join import Join
from workbench.errors import DefinitionError, near
from workbench.online import Store
from workbench.previews.preview_view import preview
from workbench.serving.publication import publish

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

NAME = "feature_set"


@magics_class
class FeatureSets(Magics):
    """The magics that `%load_ext workbench` adds."""

    @magic_arguments()
    @argument("name", help="the variable that the group-by or join is bound to")
    @argument(
        "--publish",
        action="store_true",
        help=(
            "show what publishing it would change, with the button that does it; nothing is written"
            " before that"
        ),
    )
    @argument(
        "--store",
        metavar="VAR",
        help="the variable that holds the store, for --publish; by default `store`",
    )
    @argument(
        "--confirm",
        metavar="HASH",
        nargs="?",
        const=True,
        default=None,
        help=(
            "with --publish: write it, if this is the hash that was shown; without a hash, whatever"
            " it is"
        ),
    )
    @argument(
        "--end",
        metavar="TIME",
        help="with --publish: upload the events before this date or time, UTC",
    )
    @argument(
        "--on",
        metavar="VAR",
        help=(
            "the variable that holds the connection which has the tables, where the definition's"
            " own is not it"
        ),
    )
    @argument("--no-preview", action="store_true", help="define it, and show no values")
    @cell_magic(NAME)
    def feature_set(self, line: str, cell: str) -> Any:
        """Define a group-by or a join, and look at it.

        The cell is plain Python, and runs as any cell does: its names stay, and what it raises is
        raised here. Its last expression or, where that is no definition, what it binds to NAME must
        be a GroupBy or a Join; NAME is bound to it.

        A join is previewed. A group-by has no rows of its own to look at, and is shown as it is.
        With --publish, what would change is shown in its place.

            %%feature_set spend
            GroupBy(name="spend_v1", source=purchases, keys=["user_id"],
            aggregations=trailing(days(7), _.price.sum()))

        Arguments are read before the cell runs: a wrong one runs nothing. If the cell fails, or
        makes no definition, NAME keeps what it held.
        """
        __tracebackhide__ = True
        options = parse_argstring(self.feature_set, line)
        arguments = self._given(options)
        definition = self._defined(options.name, cell)
        if options.publish:
            return publish(
                definition,
                arguments["store"],
                confirm=options.confirm,
                end=options.end,
                on=arguments.get("on"),
            )
        if options.no_preview:
            return None
        return (
            preview(definition, on=arguments.get("on"))
            if isinstance(definition, Join)
            else definition
        )

    def _given(self, options: Any) -> dict[str, Any]:
        """Return the objects that the arguments name.

        UsageError for arguments that contradict themselves, or name what does not exist.
        """
        if not options.name.isidentifier():
            message = f"%%{NAME} takes a variable's name, not {options.name!r}: %%{NAME} spend"
            raise UsageError(message)
        idle_options = [
            f"--{n}"
            for n in ("store", "confirm", "end")
            if getattr(options, n) is not None and not options.publish
        ]
        if idle_options:
            message = f"{', '.join(idle_options)} of %%{NAME} has nothing to do without --publish"
            raise UsageError(message)
        wanted = {"store": options.store or "store"} if options.publish else {}
        wanted |= {"on": options.on} if options.on else {}
        variables = {option: self._variable(option, name) for option, name in wanted.items()}
        if "store" in variables and not isinstance(variables["store"], Store):
            message = (
                f"--store of %%{NAME} names {wanted['store']}, which is no Store but"
                f" {type(variables['store']).__name__}"
            )
            raise UsageError(message)
        return variables

    def _variable(self, option: str, name: str) -> Any:
        names = self._shell.user_ns
        if name not in names:
            close = near(name, [n for n in names if not n.startswith("_")])
            close = close if close.startswith("did") else "make it in a cell before this one"
            message = (
                f"--{option} of %%{NAME} names the variable {name!r}, which is not there: {close}"
            )
            raise UsageError(message)
        return names[name]

    @property
    def _shell(self) -> InteractiveShell:
        assert self.shell is not None  # noqa: S101 a magic that is called has a shell
        return self.shell

    def _defined(self, name: str, cell: str) -> GroupBy | Join:
        """Run the cell, and bind the definition that it makes.

        Where it fails or defines nothing, the variable holds what it held.
        """
        __tracebackhide__ = "__ipython_bottom__"  # IPython shows the frames below: the cell's own
        names = self._shell.user_ns
        held_values = {name: names[name]} if name in names else {}
        try:
            value = self._ran(cell, name)
        except BaseException:
            names.pop(name, None)
            names.update(held_values)
            raise
        if not isinstance(value, GroupBy | Join):
            names.pop(name, None)
            names.update(held_values)
            outcome = "defines nothing" if value is None else f"makes {type(value).__name__}"
            message = (
                f"the cell of %%{NAME} {name} {outcome}: let its last expression, or the variable"
                f" {name}, be a GroupBy or a Join"
            )
            raise DefinitionError(message)
        names[name] = value
        return value

    def _ran(self, cell: str, name: str) -> Any:
        """Return the cell's last expression if it is a definition, else what it bound to the name.

        If it bound nothing, the last expression is returned.
        """
        __tracebackhide__ = "__ipython_bottom__"
        shell = self._shell
        file = shell.compile.cache(shell.transform_cell(cell))
        tree = shell.compile.ast_parse(shell.transform_cell(cell), filename=file)
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        # the code is the user's own cell
        exec(shell.compile(tree, file, "exec"), shell.user_global_ns, shell.user_ns)  # noqa: S102
        value = (
            None
            if last is None
            else eval(  # noqa: S307 so is this
                shell.compile(ast.Expression(last.value), file, "eval"),
                shell.user_global_ns,
                shell.user_ns,
            )
        )
        binds = any(
            isinstance(n, ast.Name | ast.alias) and _bound(n) == name for n in ast.walk(tree)
        )
        return shell.user_ns.get(name) if binds and not isinstance(value, GroupBy | Join) else value


def _bound(node: ast.Name | ast.alias) -> str | None:
    """Return the name that an assignment or an import binds."""
    if isinstance(node, ast.alias):
        return node.asname or node.name
    return node.id if isinstance(node.ctx, ast.Store) else None


# --- loading, and unloading without a trace


BEFORE: WeakKeyDictionary[InteractiveShell, tuple[Any, Any]] = WeakKeyDictionary()


def load(shell: InteractiveShell) -> None:
    """Add the magic to a shell."""
    manager = shell.magics_manager
    BEFORE[shell] = (manager.magics["cell"].get(NAME), manager.registry.get(FeatureSets.__name__))
    manager.register(FeatureSets(shell))


def unload(shell: InteractiveShell) -> None:
    """Restore what was there before."""
    manager = shell.magics_manager
    for table, key, was in zip(
        (manager.magics["cell"], manager.registry),
        (NAME, FeatureSets.__name__),
        BEFORE.pop(shell, (None, None)),
        strict=True,
    ):
        table.pop(key, None)
        if was is not None:
            table[key] = was
