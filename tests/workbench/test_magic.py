"""The cell magic `%%feature_set`, by a real IPython.

Tests say what it runs, binds, shows, publishes and refuses.
"""

from __future__ import annotations

import re

import ibis
import pytest
from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell

from workbench import (
    DefinitionError,
    GroupBy,
    Join,
    Preview,
    Proposal,
    Publication,
    samples,
    unpublish,
)
from workbench.online.ipython_shell import variable_for

JOIN = """
spend = GroupBy(
    name="spend_v1",
    source=EventSource(con.table("purchases"), time="ts", topic="purchases"),
    keys=["user_id"],
    aggregations=trailing(days(7), _.purchase_price.sum()),
)
checkouts = EventSource(con.table("checkouts"), time="ts")
"""
DEFINED = JOIN + 'Join(name="at_checkout_v1", left=checkouts, parts=[spend])\n'


@pytest.fixture(scope="module")
def con(tmp_path_factory):
    made = ibis.duckdb.connect()
    samples.load(
        made,
        samples.write(tmp_path_factory.mktemp("shop"), purchases=200, returns=20, checkouts=20),
    )
    return made


@pytest.fixture
def shell(con):
    InteractiveShell.clear_instance()
    made = InteractiveShell.instance()
    made.push({"con": con})
    made.run_cell("from ibis import _\nfrom workbench import *\n%load_ext workbench").raise_error()
    yield made
    made.reset(new_session=False)
    InteractiveShell.clear_instance()


def ran(shell, line, cell):
    """Run a cell and return its result; raise what it raised."""
    result = shell.run_cell(f"%%feature_set {line}\n{cell}")
    result.raise_error()
    return result.result


def test_the_last_expression_is_bound_and_a_join_is_previewed(shell):
    shown = ran(shell, "training", DEFINED)

    assert isinstance(shown, Preview)
    assert "at_checkout_v1" == shell.user_ns["training"].name == shown.page.join.name
    assert isinstance(shell.user_ns["spend"], GroupBy)


def test_a_cell_that_binds_the_name_itself_needs_no_last_expression(shell):
    ran(shell, "training", DEFINED.replace("\nJoin(", "\ntraining = Join("))

    assert isinstance(shell.user_ns["training"], Join)


def test_a_group_by_is_shown_as_it_is(shell):
    assert "spend_v1" == ran(shell, "spend", JOIN).name


def test_no_preview_shows_nothing(shell):
    assert ran(shell, "training --no-preview", DEFINED) is None
    assert isinstance(shell.user_ns["training"], Join)


def test_the_cell_runs_as_any_cell_with_its_magics(shell):
    ran(shell, "training --no-preview", f"place = %pwd\n{DEFINED}")

    assert shell.user_ns["place"]


def test_what_a_cell_raises_is_raised_with_the_cells_own_line_and_the_name_keeps_what_it_held(
    shell, capsys
):
    ran(shell, "training --no-preview", DEFINED)
    held = shell.user_ns["training"]

    with pytest.raises(DefinitionError, match="did you mean 'user_id'"):
        ran(shell, "training", DEFINED.replace('keys=["user_id"]', 'keys=["user_i"]'))

    assert held is shell.user_ns["training"]
    printed = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    assert 1 == printed.count("DefinitionError: ")
    assert re.search(r"-> +[0-9]+ spend = GroupBy\(", printed)
    assert "cell_magic.py" not in printed


@pytest.mark.parametrize(
    ("cell", "made"),
    [("1 + 1", "makes int"), ("x = 1", "defines nothing"), ("training = 5", "makes int")],
)
def test_a_cell_that_defines_nothing_is_refused_and_loses_nothing(shell, cell, made):
    ran(shell, "training --no-preview", DEFINED)
    held = shell.user_ns["training"]

    with pytest.raises(
        DefinitionError,
        match=(
            f"the cell of %%feature_set training {made}: let its last expression, or the variable"
            " training, be"
        ),
    ):
        ran(shell, "training", cell)

    assert held is shell.user_ns["training"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("", "required: name"),
        ("my-set", "takes a variable's name"),
        ("training --nothing", "unrecognized arguments: --nothing"),
        (
            "training --confirm abc",
            "--confirm of %%feature_set has nothing to do without --publish",
        ),
        ("training --store con", "--store of %%feature_set has nothing to do"),
        ("training --publish", "names the variable 'store', which is not there"),
        ("training --publish --store con", "names con, which is no Store but Backend"),
        ("training --on conn", "did you mean 'con'"),
    ],
)
def test_wrong_arguments_run_nothing(shell, line, said):
    with pytest.raises(UsageError, match=said):
        ran(shell, line, f"reached = True\n{DEFINED}")

    assert "reached" not in shell.user_ns
    assert "training" not in shell.user_ns


def test_the_cell_that_is_no_python_is_a_syntax_error(shell):
    with pytest.raises(SyntaxError):
        ran(shell, "training", "Join(")

    assert "training" not in shell.user_ns


@pytest.mark.slow
def test_publish_proposes_and_writes_what_is_confirmed(shell, store):
    shell.push({"online_store": store})

    proposal = ran(shell, "training --publish --store online_store --end 2023-12-01", DEFINED)
    names = store.names()
    with pytest.raises(DefinitionError, match="is the hash of another plan"):
        ran(shell, "training --publish --store online_store --confirm 0000", DEFINED)
    done = ran(
        shell,
        f"training --publish --store online_store --end 2023-12-01 --confirm {proposal.hash[:8]}",
        DEFINED,
    )

    assert isinstance(proposal, Proposal)
    assert isinstance(done, Publication)
    assert ([], ["at_checkout_v1"]) == (names, store.names())
    unpublish("at_checkout_v1", store)


def test_unloading_puts_back_what_was_there(con):
    InteractiveShell.clear_instance()
    shell = InteractiveShell.instance()
    shell.run_cell(
        "%reload_ext storemagic"
    ).raise_error()  # IPython loads some of its own when they are first used
    mine = lambda line, cell: (line, cell)  # noqa: E731
    shell.register_magic_function(mine, "cell", "feature_set")
    manager = shell.magics_manager
    before = [{kind: set(found) for kind, found in manager.magics.items()}, dict(manager.registry)]

    shell.run_cell("%load_ext workbench").raise_error()
    loaded = shell.magics_manager.magics["cell"]["feature_set"]
    shell.run_cell("%reload_ext workbench").raise_error()
    shell.run_cell("%unload_ext workbench").raise_error()

    assert loaded is not mine
    assert before == [
        {kind: set(found) for kind, found in manager.magics.items()},
        dict(manager.registry),
    ]
    assert mine is manager.magics["cell"]["feature_set"]
    InteractiveShell.clear_instance()


def test_its_help_says_what_each_argument_is(shell):
    said = shell.magics_manager.magics["cell"]["feature_set"].__doc__

    assert "--publish" in said
    assert "nothing is written before that" in said


def test_a_line_to_copy_calls_a_definition_as_the_notebook_does(shell):
    """N14: every printed line runs as it stands.

    It runs also where a variable has another name than its definition.
    """
    ran(shell, "training", DEFINED)
    mine = shell.user_ns["training"]

    assert ("training", "other_v1") == (
        variable_for(mine, mine.name),
        variable_for(1.5, "other_v1"),
    )
    assert "definition" == variable_for(1.5, "no variable")
