"""C5: opening a store only reads; owners, writers and readers may do their work, no more."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import psycopg
import pyarrow as pa
import pytest
import services
from conftest import lacking
from psycopg.conninfo import make_conninfo

from workbench import EventSource, GroupBy, Topic, catalog, days, publish, trailing, upload
from workbench.commands import main
from workbench.monitoring import dashboard, freshness
from workbench.online import Store, StoreError, fetch
from workbench.online.storage import catalog_version, migrations, registry, roles
from workbench.online.streaming import batch_values, batch_writer
from workbench.serving.online_plans import plan_of

pytestmark = pytest.mark.slow

T = datetime(2026, 11, 10)  # noqa: DTZ001 the tables' timestamps are naive UTC
ODD = "o\"dd; Ro'le"  # a role's name that is quoted or breaks the statement
PAY = pa.schema([("user_id", pa.string()), ("ts", pa.timestamp("us")), ("amt", pa.int64())])


def pay(con, rows=3):
    made = [{"user_id": "1", "ts": T + timedelta(hours=i), "amt": 5} for i in range(rows)]
    return con.create_table("pay", pa.Table.from_pylist(made, PAY), overwrite=True)


def spend(con, name="pay_v1", topic=None):
    t = pay(con)
    return GroupBy(
        name=name,
        source=EventSource(t, time="ts", topic=topic),
        keys=["user_id"],
        aggregations=trailing(days(30), t.amt.sum(), t.amt.count()),
        accuracy="temporal",
    )


def asked(store, name="pay_v1"):
    return dict(fetch(store, name, user_id="1", at="2026-11-20"))


# What is granted differs by Postgres's version; the rest is asked of one.
VERSIONS = pytest.mark.parametrize("database", ["wheel_server", "system_server"], indirect=True)


ROLES = "select quote_ident(rolname) from pg_roles where rolname !~ '^workbench_'"


@pytest.fixture
def database(request):
    """The URL of a new database, in which nobody has made a store, for the superuser."""
    url = request.getfixturevalue(getattr(request, "param", "wheel_server"))
    with psycopg.connect(url, autocommit=True) as con:
        con.execute("drop database if exists roles with (force)")
        con.execute("create database roles template template0 encoding 'UTF8'")
        others = {name for (name,) in con.execute(ROLES).fetchall()}
    found = make_conninfo(url, dbname="roles")
    yield found
    with psycopg.connect(url, autocommit=True) as con:
        con.execute("drop database roles with (force)")
        for name in {name for (name,) in con.execute(ROLES).fetchall()} - others:
            con.execute(f"drop role {name}")


def granted(url, role, name, capsys):
    """Run, as the superuser, what the command prints for a role; return the role's URL."""
    assert 0 == main.main(["grants", "--store", url, "--role", role, name])
    with psycopg.connect(url, autocommit=True) as con:
        con.execute(capsys.readouterr().out)
    return make_conninfo(url, user=name)


def refused(do, words="is not allowed to"):
    with pytest.raises(StoreError, match=words) as error:
        do()
    assert 1 == len(str(error.value).splitlines())


def test_opening_a_store_writes_nothing_and_an_empty_database_reads_as_empty(database, duck):
    with Store(database) as store:
        assert ([], [], {}) == (
            store.names(),
            registry.history(store, "x"),
            registry.batch_ends(store),
        )
        assert "nothing" in str(catalog(store)).lower()
        with pytest.raises(
            StoreError,
            match=(
                r"nothing is published as 'x': there is no store in the database of .* yet; publish"
            ),
        ):
            fetch(store, "x", user_id="1")
        publish(spend(duck), store, end="2026-11-30")  # a proposal, which looks
        with store.connection() as con:
            assert (
                []
                == con.execute(
                    "select nspname from pg_namespace where nspname in ('workbench',"
                    " 'workbench_data', 'features')"
                ).fetchall()
            )
        publish(spend(duck), store, end="2026-11-30", confirm=True)

        assert {"amt_sum_30d": 15, "amt_count_30d": 3} == asked(store)


@VERSIONS
def test_a_reader_does_what_it_should_and_the_rest_is_refused_in_a_sentence(database, duck, capsys):
    with Store(database) as store:
        publish(spend(duck), store, end="2026-11-30", confirm=True)
        url = granted(database, "reader", ODD, capsys)
        # What is granted includes tables that are made later.
        publish(spend(duck, "later_v1"), store, end="2026-11-30", confirm=True)
        with Store(url) as reader:
            assert asked(store) == asked(reader) == asked(reader, "later_v1")
            assert "later_v1" in str(catalog(reader))
            assert freshness(reader, "pay_v1") is not None
            assert dashboard(reader, spend(duck), on=duck) is not None
            with reader.connection() as con:
                assert [(15,)] == con.execute(
                    "select amt_sum_30d from features.pay_v1('1', '2026-11-20')"
                ).fetchall()
            refused(
                lambda: publish(spend(duck, "third_v1"), reader, end="2026-11-30", confirm=True)
            )
            refused(lambda: upload("pay_v1", reader, end="2026-11-30", on=duck))
            refused(lambda: registry.unpublish(reader, "pay_v1"))
            refused(lambda: _written(reader, duck))
        assert asked(store)["amt_count_30d"] == 3


def test_a_served_log_that_may_not_be_written_never_fails_a_fetch(database, duck, capsys, caplog):
    with Store(database) as store:
        publish(spend(duck), store, end="2026-11-30", confirm=True)
    with Store(granted(database, "reader", "looker", capsys), sample=1.0) as reader:
        for _ in range(3):
            assert 15 == asked(reader)["amt_sum_30d"]
        log = reader.fetcher.log
        reader.fetcher.close()

        assert (0, 3) == (log.logged, log.dropped)
        assert "writing the served log is not allowed to looker" in log.trouble
        assert 1 == sum(
            "answers are served and not logged" in r.getMessage() for r in caplog.records
        )


def _set(store, statement):
    with store.connection() as con:
        con.execute(statement)


def _written(store, duck):
    plan = plan_of(spend(duck, topic=Topic("events")))
    group_by = replace(plan.group_bys[0], hash=store.plan("pay_v1")[1].group_bys[0].hash)
    with store.connection() as con:
        return batch_writer.applied(
            con,
            batch_values.RowLevel(group_by),
            batch_values.Messages("events", pay(duck, 1).to_pyarrow(), [0], [0]),
        )


@VERSIONS
def test_a_writer_uploads_and_streams_and_changes_nothing_of_what_is_served(database, duck, capsys):
    with Store(database) as store:
        registry.prepare(store, plan := plan_of(spend(duck, topic=Topic("events"))))
        registry.register(store, plan)  # nothing is uploaded yet: whose table it is makes its index
        with Store(granted(database, "writer", "feeder", capsys)) as writer:
            upload("pay_v1", writer, end="2026-11-11", on=duck)
            assert 3 == asked(writer)["amt_count_30d"]
            pay(duck, 4)
            upload("pay_v1", writer, end="2026-11-30", on=duck)
            level, message = (
                batch_values.RowLevel(plan.group_bys[0]),
                pa.Table.from_pylist(
                    [{"user_id": "1", "ts": T + timedelta(days=1), "amt": 7}], PAY
                ),
            )
            with writer.connection() as con:
                assert (
                    1
                    == batch_writer.applied(
                        con, level, batch_values.Messages("events", message, [0], [0])
                    ).rows
                )
            assert {"amt_sum_30d": 27, "amt_count_30d": 5} == asked(writer) == asked(store)
            refused(
                lambda: publish(spend(duck, "third_v1"), writer, end="2026-11-30", confirm=True)
            )
            refused(lambda: registry.unpublish(writer, "pay_v1"))
            refused(lambda: _set(writer, "update workbench.plans set plan = plan"))
            refused(lambda: _set(writer, "delete from workbench.migrations"))


@VERSIONS
def test_an_owner_who_may_make_no_schema_makes_a_store_and_a_second_one_goes_on_with_it(
    database, duck, capsys
):
    """Neither a role for which the schemas were made nor one that joins later may make schemas."""
    with Store(granted(database, "owner", "first", capsys)) as first:
        publish(spend(duck), first, end="2026-11-30", confirm=True)
    with Store(granted(database, "owner", "second", capsys)) as second:
        publish(spend(duck, "more_v1"), second, end="2026-11-30", confirm=True)
        registry.unpublish(second, "pay_v1")
    with Store(make_conninfo(database, user="first")) as first:
        assert ["more_v1"] == first.names()
        registry.unpublish(first, "more_v1")


def test_who_may_make_nothing_is_told_so_in_a_sentence(database, duck):
    with psycopg.connect(database, autocommit=True) as con:
        con.execute("create role nobody_v1 login")
    with Store(make_conninfo(database, user="nobody_v1")) as store:
        assert [] == store.names()
        refused(
            lambda: publish(spend(duck), store, end="2026-11-30", confirm=True),
            "is not allowed to nobody_v1",
        )


def test_a_role_without_any_right_on_a_store_is_told_so_when_it_opens_it(database, duck):
    with Store(database) as store, psycopg.connect(database, autocommit=True) as con:
        publish(spend(duck), store, end="2026-11-30", confirm=True)
        con.execute("create role stranger login")
        refused(
            lambda: Store(make_conninfo(database, user="stranger")),
            "not allowed to stranger .*workbench grants --role",
        )


def test_a_newer_client_that_looks_changes_nothing_and_an_older_one_reads_what_was_only_added(
    database, duck, capsys, monkeypatch
):
    newer = (
        *migrations.MIGRATIONS,
        migrations.Migration(
            lambda con: con.exec_driver_sql("create table workbench.newer (x int)")
        ),
    )
    with Store(database) as store:
        publish(spend(duck), store, end="2026-11-30", confirm=True)
        with monkeypatch.context() as patch:
            patch.setattr(migrations, "MIGRATIONS", newer)
            patch.setattr(catalog_version, "CATALOG_VERSION", len(newer))
            with Store(database) as looking:
                assert 15 == asked(looking)["amt_sum_30d"]
                with looking.connection() as con:
                    assert len(newer) - 1 == catalog_version.version(con)
                refused(
                    lambda: publish(
                        spend(duck, "more_v1"), looking, end="2026-11-30", confirm=True
                    ),
                    f"is at version {len(newer) - 1}, and this needs version {len(newer)}: an owner"
                    " brings it up by workbench migrate",
                )
            assert 0 == main.main(["migrate", "--store", database])
            assert (
                f"is at version {len(newer)}, and was at {len(newer) - 1}"
                in capsys.readouterr().out
            )
            assert 0 == main.main(["migrate", "--store", database])
            assert "nothing to do" in capsys.readouterr().out
        with Store(database) as older:
            assert 15 == asked(older)["amt_sum_30d"]
        with store.connection() as con:
            con.execute(
                "update workbench.migrations set breaking = true where version = %s", (len(newer),)
            )
        refused(lambda: Store(database), "made by a newer feature-workbench")


@VERSIONS
def test_a_catalog_of_the_first_versions_is_read_and_brought_up_with_its_functions(database, duck):
    with Store(database) as store:
        publish(spend(duck), store, end="2026-11-30", confirm=True)
        with store.connection() as con:
            for statement in (
                "alter table workbench.migrations drop column breaking",
                "delete from workbench.migrations where version > 2",
                "drop table workbench.frozen",
                "drop table workbench.tiles",
                "alter function features.pay_v1 reset all",
            ):
                con.execute(statement)
    with Store(database) as store:
        assert 15 == asked(store)["amt_sum_30d"]
    with Store(database, migrate=True) as store, store.connection() as con:
        assert len(migrations.MIGRATIONS) == catalog_version.version(con)
        assert len(migrations.MIGRATIONS) == catalog_version.CATALOG_VERSION
        ((set_,),) = con.execute(
            "select proconfig from pg_proc where oid = 'features.pay_v1'::regproc"
        ).fetchall()
        assert "standard_conforming_strings=on" in set_
        assert [(15,)] == con.execute(
            "select amt_sum_30d from features.pay_v1('1', '2026-11-20')"
        ).fetchall()


def test_a_role_that_only_reads_by_its_own_setting_is_told_so(database, duck, capsys):
    with Store(database) as store:
        publish(spend(duck), store, end="2026-11-30", confirm=True)
    url = granted(database, "writer", "cautious", capsys)
    with psycopg.connect(database, autocommit=True) as con:
        con.execute("alter role cautious set default_transaction_read_only = on")
    with Store(url) as store:
        assert 15 == asked(store)["amt_sum_30d"]
        refused(
            lambda: upload("pay_v1", store, end="2026-11-30", on=duck), "cannot be written here"
        )


@pytest.fixture(scope="module")
def standby():
    """The URLs of a primary and of a hot standby that follows it."""
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not places:
        lacking("a standby needs the system's PostgreSQL: apt-get install postgresql")
    binaries, home = places[-1], Path(tempfile.mkdtemp(prefix="standby"))
    with services.postgres(
        binaries, wal_level="replica", max_wal_senders="4", hot_standby="on"
    ) as (primary, _):
        url = f"postgresql://postgres@127.0.0.1:{primary['port']}/postgres"
        copied = [
            str(binaries / "pg_basebackup"),
            "-d",
            url,
            "-D",
            str(home / "data"),
            "-R",
            "-X",
            "stream",
            "-c",
            "fast",
            "--no-sync",
        ]
        subprocess.run(copied, check=True, capture_output=True, timeout=120)
        with services.postgres(binaries, home / "data", hot_standby="on") as (second, _):
            yield url, f"postgresql://postgres@127.0.0.1:{second['port']}/postgres"
    shutil.rmtree(home, ignore_errors=True)


def test_a_hot_standby_is_opened_and_read_and_what_would_write_says_so(standby, duck):
    primary, second = standby
    with Store(primary) as store:
        publish(spend(duck), store, end="2026-11-30", confirm=True)
        with store.connection() as con, psycopg.connect(second, autocommit=True) as there:
            ((reached,),) = con.execute("select pg_current_wal_lsn()").fetchall()
            while there.execute("select pg_last_wal_replay_lsn() >= %s", (reached,)).fetchone() != (
                True,
            ):
                pass
    with Store(second, sample=1.0) as reader:
        assert {"amt_sum_30d": 15, "amt_count_30d": 3} == asked(reader)
        assert "pay_v1" in str(catalog(reader))
        assert freshness(reader, "pay_v1") is not None
        assert dashboard(reader, spend(duck), on=duck) is not None
        refused(
            lambda: publish(spend(duck, "more_v1"), reader, end="2026-11-30", confirm=True),
            "cannot be written here",
        )
        refused(
            lambda: upload("pay_v1", reader, end="2026-11-30", on=duck), "cannot be written here"
        )
        reader.fetcher.close()
        assert "cannot be written here" in reader.fetcher.log.trouble
        assert 15 == asked(reader)["amt_sum_30d"]
    with Store(second, migrate=True) as reader:  # nothing is to be done
        assert ["pay_v1"] == reader.names()


def test_a_name_that_is_none_of_a_role_is_refused(store):
    for name in ("", "x" * 64, "a\x00b"):
        with pytest.raises(StoreError, match="is no name of a role"):
            roles.grants(store, "reader", name)
