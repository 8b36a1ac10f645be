"""Words that a newcomer met and could not use.

They are a warning that points into the standard library, a file's name, and a name cut in two.
"""

from __future__ import annotations

import warnings
from concurrent.futures import ThreadPoolExecutor

import ibis
import pyarrow as pa
import pytest
from pyarrow import csv

from workbench import EventSource, GroupBy, check, days, preview, trailing
from workbench.catalogs.catalog_html import _breakable
from workbench.errors import DefinitionError, warn


def test_a_warning_of_a_views_own_thread_points_to_no_line_of_the_standard_library():
    """The warning stood at 'concurrent/futures/thread.py:58', with that file's line below it."""
    with warnings.catch_warnings(record=True) as told, ThreadPoolExecutor(1) as pool:
        warnings.simplefilter("default")
        pool.submit(warn, "one sentence").result()
        warn("another")

    assert ["workbench", __file__] == [w.filename for w in told]
    assert ["one sentence", "another"] == [str(w.message) for w in told]


def test_a_value_is_made_of_rows_of_a_file(tmp_path):
    """The page said '2 of 3 the csv file count'."""
    place = tmp_path / "stays.csv"
    at = [f"2024-03-0{day} 10:00:00" for day in (1, 2, 3)]
    csv.write_csv(pa.table({"guest": ["a"] * 3, "at": at, "nights": [1, 2, 3]}), place)
    table = ibis.read_csv(place)
    nights = trailing(days(7), table.nights.sum())
    stays = GroupBy(
        name="stays_v1", source=EventSource(table, time="at"), keys=["guest"], aggregations=nights
    )

    page = preview(stays, 1, "nights_sum_7d")._repr_html_()

    assert "3 of 3 rows of the csv file count" in page


def test_a_check_says_that_its_events_are_rows_before_columns_are_made_of_them():
    """A price that was read as a number was 120, 'and the column is string: write a text'."""
    stays = ibis.table({"guest": "string", "at": "timestamp", "price": "string"}, name="stays")
    read = stays.mutate(price=stays.price.replace(",", "").try_cast("float64"))
    total = trailing(days(7), read.price.sum())
    stays_v1 = GroupBy(
        name="stays_v1", source=EventSource(read, time="at"), keys=["guest"], aggregations=total
    )
    event = {"guest": "a", "at": "2024-03-01", "price": 120}

    with pytest.raises(DefinitionError, match="a row as stays has it, of which float64 is made"):
        check(stays_v1, [event], at="2024-03-02", expect={"price_sum_7d": 120})


def test_a_narrow_column_breaks_a_name_after_an_underscore():
    """The catalog broke 'quickstart_traini' from 'ng_set_v1'."""
    assert "quickstart_<wbr>set&lt;_<wbr>v1" == _breakable("quickstart_set<_v1")
