"""The table of engines: every row names what its engine is, and that is there."""

from __future__ import annotations

import tomllib

import ibis
import pytest
import sqlglot
from conftest import ROOT

from workbench.backends import Engine, engine_of
from workbench.backends.engine_table import ENGINES, PORTABLE, loaded
from workbench.backends.kernel import REDUCTIONS

ROWS = [*ENGINES.values(), PORTABLE]
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_what_a_row_names_is_there(row):
    engine_class = loaded(row.engine_class)

    assert issubclass(engine_class, Engine)
    assert row is engine_class.row
    assert callable(loaded(row.results))
    assert row.extra is None or row.extra in EXTRAS
    assert "pairs" == row.plans[0]
    assert row.lacks <= REDUCTIONS.keys()


@pytest.mark.parametrize("row", ENGINES.values(), ids=lambda row: row.name)
def test_an_engine_is_found_by_its_name_and_shows_sql_without_a_connection(row):
    engine = engine_of(None, row.name)

    sql = engine.sql(ibis.table({"n": "int64"}, "t"))

    assert type(engine) is loaded(row.engine_class)
    assert sqlglot.parse_one(sql, dialect=row.name)


def test_names_and_titles_are_of_one_engine_each():
    assert len(ROWS) == len({row.name for row in ROWS}) == len({row.title for row in ROWS})


def test_a_backend_without_a_row_is_portable():
    assert "portable" == engine_of(ibis.sqlite.connect()).name
