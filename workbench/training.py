from __future__ import annotations
from backends import engine_of
from workbench.compile import training_set
def backfill(join, start=None, end=None, *, into=None, on=None):
    con = on or join.left.connection
    e = engine_of(con)
    return e.keep(training_set(join, e))
