"""References to definitions on a command line: FILE:NAME or package.module:NAME."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import sys
import traceback
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import frozen

from workbench.backends import EngineError
from workbench.errors import MAX_NAMES_SHOWN, DefinitionError, near

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType


@frozen
class ModulePlace:
    """A module's dotted name, the folder it is imported from, and its file if one was named."""

    name: str
    root: Path
    file: Path | None = None

    def __str__(self) -> str:
        return self.name if self.file is None else str(self.file)


def definition(reference: str, kinds: tuple[type, ...]) -> Any:
    """Return the object of one of these kinds that FILE:NAME or package.module:NAME names.

    Without a NAME it is the only one in the module. The file is run; a file of a package, or one
    with relative imports, is loaded as its package's module. Raises DefinitionError where the
    object is missing, with what there is instead, and where a file fails.
    """
    where, colon, name = reference.rpartition(":")
    place = _placed(where if colon else reference, reference)
    module, wanted = _loaded(place), " or ".join(k.__name__ for k in kinds)
    definitions = {n: v for n, v in vars(module).items() if isinstance(v, kinds)}
    if not colon:
        return _only(place, definitions, wanted)
    if name in definitions:
        return definitions[name]
    hint = f", which is of type {type(vars(module)[name]).__name__}" if name in vars(module) else ""
    message = (
        f"{place} defines no {wanted} named {name!r}{hint}:"
        f" {near('' if hint else name, definitions)}"
    )
    raise DefinitionError(message)


def _only(place: ModulePlace, definitions: dict[str, Any], wanted: str) -> Any:
    """Return the one definition that a module has."""
    if not definitions:
        message = (
            f"{place} defines no {wanted}: name a file or a module that has one, as"
            " definitions.py:training_set"
        )
        raise DefinitionError(message)
    if len({id(v) for v in definitions.values()}) > 1:
        more = (
            f" and {len(definitions) - MAX_NAMES_SHOWN} more"
            if len(definitions) > MAX_NAMES_SHOWN
            else ""
        )
        message = (
            f"{place} defines several, {', '.join([*definitions][:MAX_NAMES_SHOWN])}{more}: say"
            f" which, as {place}:{next(iter(definitions))}"
        )
        raise DefinitionError(message)
    return next(iter(definitions.values()))


def _placed(where: str, reference: str) -> ModulePlace:
    """Return where a file or module is; DefinitionError where there is none."""
    path = Path(where)
    if where and path.is_file():
        return _of_file(path)
    if where.endswith(".py") or "/" in where:
        message = (
            f"there is no file {where} in {Path.cwd().name}/: FILE:NAME is a Python file and a"
            " definition in it"
        )
        raise DefinitionError(message)
    if not where or not all(part.isidentifier() for part in where.split(".")):
        message = (
            f"{reference!r} is no FILE:NAME of a definition: for example"
            " definitions.py:training_set or package.module:training_set, with the file in reach"
            f" of {Path.cwd().name}/"
        )
        raise DefinitionError(message)
    return ModulePlace(where, Path.cwd())


def _of_file(path: Path) -> ModulePlace:
    """Find a file's module name.

    It is in the package of the file's folders, or as high as its relative imports reach.
    """
    full_path = path.resolve()
    above = 0
    while (full_path.parents[above] / "__init__.py").is_file():
        above += 1
    above = max(above, _relative(full_path))
    parts = [p.name for p in reversed(full_path.parents[:above])]
    if not all(p.isidentifier() for p in parts):
        message = (
            f"{path} belongs to the package {'.'.join(parts)}, which Python cannot import by that"
            " name: rename the folder"
        )
        raise DefinitionError(message)
    names = [*parts, *([] if above and full_path.stem == "__init__" else [full_path.stem])]
    return ModulePlace(".".join(names), full_path.parents[above], path)


def _relative(path: Path) -> int:
    """Return how many folders up a file's relative imports reach; 0 if none or unreadable."""
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):  # told where it is loaded
        return 0
    return max(
        (node.level for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)), default=0
    )


def _loaded(place: ModulePlace) -> ModuleType:
    """Return the module, its file run; DefinitionError where there is none, or it fails."""
    try:
        with _reach(place.root):
            if place.file is not None and "." not in place.name:
                return _run(place.name, place.file)
            _refuse_shadowed(place)
            return importlib.import_module(place.name)
    except (DefinitionError, EngineError):
        raise
    except ModuleNotFoundError as error:
        if (
            place.file is None
            and error.name is not None
            and f"{place.name}.".startswith(f"{error.name}.")
        ):
            message = (
                f"there is no module {error.name}, in {Path.cwd().name}/ or installed: name a"
                " module as package.module:NAME, or a file as FILE:NAME"
            )
            raise DefinitionError(message) from error
        raise _failed(place, error) from error
    except (Exception, SystemExit) as error:  # a script that ends itself is no definition either
        raise _failed(place, error) from error


def _run(name: str, file: Path) -> ModuleType:
    """Run a file that belongs to no package as a module."""
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        message = f"{file} is no Python file: FILE:NAME is one, and a definition in it"
        raise DefinitionError(message)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _refuse_shadowed(place: ModulePlace) -> None:
    """Raise DefinitionError where another package of the file's package name would be imported."""
    top = place.name.partition(".")[0]
    loaded_module = sys.modules.get(top)
    if place.file is None or loaded_module is None:
        return
    own_place = (place.root / top).resolve()
    places = [Path(p).resolve() for p in getattr(loaded_module, "__path__", ())]
    if own_place not in places:
        message = (
            f"{place.file} belongs to a package called {top}, and Python has another of that name,"
            f" in {places[0].parent.name if places else top}/: rename the folder"
        )
        raise DefinitionError(message)


def _failed(place: ModulePlace, error: BaseException) -> DefinitionError:
    """Return the error to raise for what a file raised.

    It says why, and at which line of the file or of what it imports beside it.
    """
    frames = [
        (f.filename, f.lineno)
        for f in traceback.extract_tb(error.__traceback__)
        if not f.filename.startswith("<")
        and Path(f.filename).resolve().is_relative_to(place.root.resolve())
    ]
    at = (
        (error.filename or "", error.lineno)
        if isinstance(error, SyntaxError)
        else frames[-1]
        if frames
        else None
    )
    line = "" if at is None else f" at line {at[1]} of {Path(at[0]).name}"
    why = str(error.msg if isinstance(error, SyntaxError) else error).strip().partition("\n")[0]
    return DefinitionError(
        f"{place} cannot be loaded: {type(error).__name__}{line}{f': {why}' if why else ''}"
    )


@contextmanager
def _reach(root: Path) -> Iterator[None]:
    """Find modules in this folder first, while the block runs."""
    importlib.invalidate_caches()
    sys.path.insert(0, str(root))
    try:
        yield
    finally:
        sys.path.remove(str(root))
