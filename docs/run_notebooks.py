"""The runner of the notebooks: keeps their outputs, without what differs from run to run."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

WIDE = 140  # characters of a code line that a cell shows without scrolling
NOTEBOOKS = Path(__file__).parents[1] / "notebooks"


def run(path: Path) -> None:
    """Execute one notebook in its folder and write it back."""
    book = nbformat.read(path, as_version=4)
    for cell in book.cells:
        assert all(  # noqa: S101 a wide cell fails the run
            len(line) <= WIDE for line in cell.source.splitlines() if cell.cell_type == "code"
        ), cell.source
    os.environ["WORKBENCH_STATIC"] = "1"  # no buttons, whose ids differ from run to run
    NotebookClient(
        book,
        timeout=300,
        store_widget_state=False,
        resources={"metadata": {"path": str(NOTEBOOKS)}},
    ).execute()
    for i, cell in enumerate(book.cells):
        cell.metadata = {k: v for k, v in cell.metadata.items() if k != "execution"}
        cell.id = f"cell-{i}"
    book.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    nbformat.write(book, path)


if __name__ == "__main__":
    for notebook in sorted(NOTEBOOKS.glob("*.ipynb")):
        sys.stdout.write(f"{notebook.name}\n")
        run(notebook)
