"""The default rules as data: freshness, drift, consistency and data quality."""

from __future__ import annotations

import math
from datetime import timedelta

from workbench.monitoring.alerts.alert_rules import Rule
from workbench.online.storage.source_facts import LATE as LATE_FACTS

LANDING = timedelta(hours=6)  # from the end of a batch to when its upload is expected to be there
TILE = timedelta(hours=12)  # how long ago the newest tile may have ended
CHECKED = timedelta(days=2)  # how long ago an upload's checks may have run
REFUSED_UPLOAD_AGE = timedelta(days=30)  # how long ago an upload may have been refused
ROWS = 30  # rows that a tile needs
NOISE = 0.25  # the highest noise of a PSI that is judged
CHANCE = 1e-3  # a difference of rates that chance gives more often than this does not count
# Shares: of values that later events may change, of that share from which it is a watch, and of
# values that may be null online alone.
LATE, WATCHED, LACKING = 0.01, 0.1, 0.005


def _beyond(share: float) -> float:
    """Returns the next double above the largest share that is allowed."""
    return math.nextafter(share, 1)


FRESHNESS = (
    Rule(
        "batch_age",
        "batch_age",
        watch=2,
        alert=3,
        per="schedule",
        unit="x",
        sentence="what is served was uploaded as of {value} its schedule ago",
        missing="alert",
    ),
    Rule(
        "landing_delay",
        "landing_delay",
        watch=LANDING.total_seconds(),
        unit="s",
        sentence="the last upload was there {value} after its end",
    ),
    Rule(
        "upload_rows",
        "upload_rows",
        watch=0.3,
        unit="%",
        moot=True,
        sentence="the last upload's rows are {value} off those of the same weekday",
    ),
    Rule(
        "empty",
        "empty",
        alert=1,
        moot=True,
        sentence="its last upload had no rows, and no message brought one: every feature is empty",
    ),
    Rule("fact_window", "fact_window", alert=1, per="longest", unit="x", sentence="{why}"),
    Rule(
        "fact_age",
        "fact_age",
        watch=LATE_FACTS,
        per="usual",
        unit="x",
        sentence="{why}, {value} the usual time between facts",
    ),
    Rule(
        "slo_fast",
        "slo_burn_fast",
        alert=14.4,
        unit="x",
        moot=True,
        sentence=(
            "events miss the time they should be servable in {value} as often as is budgeted, over"
            " 1 h and 5 min"
        ),
    ),
    Rule(
        "slo_slow",
        "slo_burn_slow",
        watch=3,
        unit="x",
        moot=True,
        sentence=(
            "events miss the time they should be servable in {value} as often as is budgeted, over"
            " 1 d and 2 h"
        ),
    ),
    Rule(
        "time_lag",
        "time_lag",
        watch=60,
        alert=60,
        unit="s",
        for_=(2, 2),
        clear=0.5,
        moot=True,
        sentence="messages wait for up to {value}",
    ),
    Rule(
        "updater_silence",
        "updater_silence",
        watch=60,
        alert=300,
        unit="s",
        sentence="no updater has looked at it for {value}",
    ),
    Rule("unread", "unread", alert=1, sentence="no updater ever read its topic"),
    Rule("trouble", "trouble", alert=1, sentence="nothing of its topic is applied: {why}"),
    Rule(
        "dead_letters",
        "dead_letters",
        watch=1,
        sentence=(
            "{value} of its messages could not be applied and were not replayed: workbench"
            " dead-letters lists them, with why"
        ),
    ),
    Rule(
        "dead_share",
        "dead_share",
        alert=0.01,
        unit="%",
        moot=True,
        sentence=(
            "{value} of the last day's messages could not be applied, {why}: workbench dead-letters"
        ),
    ),
    Rule(
        "input_nulls",
        "input_nulls",
        watch=0.1,
        alert=0.5,
        floor="phi",
        clear=0.8,
        unit="%",
        moot=True,
        sentence=(
            "{value} more of its events lack a value than rows of the table do ({why}): look for a"
            " column that was renamed, or spelt otherwise, in the messages"
        ),
    ),
    Rule(
        "far_times",
        "far_times",
        watch=0.001,
        alert=0.05,
        clear=0.8,
        unit="%",
        sentence="{value} of the last day's events are of times far from now ({why})",
    ),
    Rule(
        "watermark_spread",
        "watermark_spread",
        watch=300,
        unit="s",
        clear=0.8,
        moot=True,
        sentence="the slowest partition is {value} behind the fastest",
    ),
    Rule(
        "offset_lag",
        "offset_lag",
        watch=1,
        rises=True,
        for_=(3, 3),
        moot=True,
        sentence="{value} more messages wait than at the pass before, though some are applied",
    ),
    Rule(
        "late_rate",
        "late_rate",
        watch=0.01,
        unit="%",
        clear=0.8,
        least=100,
        moot=True,
        sentence="{value} of the last hour's events came more than 5 min behind newer ones",
    ),
    Rule(
        "clock_skew",
        "clock_skew",
        watch=0.01,
        unit="%",
        clear=0.8,
        least=20,
        moot=True,
        sentence=(
            "{value} of the last hour's events happened after they could be fetched: a clock is"
            " wrong"
        ),
    ),
    Rule(
        "canary",
        "canary_silence",
        watch=2,
        alert=3,
        per="every",
        unit="x",
        sentence="no canary was seen for {value} its period",
    ),
)
DRIFT = (
    Rule(
        "psi",
        "psi",
        watch=0.10,
        alert=0.25,
        floor="phi",
        for_=(2, 3),
        clear=0.8,
        least=ROWS,
        within=TILE,
        missing="keep",
        sentence="PSI is {value}",
    ),
    Rule(
        "null_rate",
        "null_rate_delta",
        watch=0.02,
        alert=0.10,
        floor="phi",
        for_=(2, 3),
        clear=0.8,
        least=ROWS,
        unit="%",
        within=TILE,
        missing="keep",
        sentence="the share of nulls is {value} off the reference",
    ),
    Rule(
        "nan_rate",
        "nan_rate_delta",
        watch=0.02,
        alert=0.10,
        floor="phi",
        for_=(2, 3),
        clear=0.8,
        least=ROWS,
        unit="%",
        within=TILE,
        missing="keep",
        sentence="the share of NaN and infinities is {value} off the reference",
    ),
)
VOIDS = (
    Rule("all_null", "all_null", alert=1, within=TILE, missing="keep", moot=True, sentence="{why}"),
)
CONSISTENCY = (
    Rule(
        "code_skew",
        "code_skew",
        alert=1e-12,
        unit="%",
        within=TILE,
        missing="keep",
        sentence=(
            "{value} of served values are not what the store's events give: the data or the code is"
            " at fault"
        ),
    ),
    Rule(
        "lateness",
        "lateness",
        watch=_beyond(LATE * WATCHED),
        alert=_beyond(LATE),
        unit="%",
        clear=0.8,
        within=TILE,
        missing="keep",
        sentence="{value} of served values were changed by later events",
    ),
    Rule(
        "online_missing",
        "online_missing",
        alert=_beyond(LACKING),
        unit="%",
        clear=0.8,
        within=TILE,
        missing="keep",
        sentence="{value} of served values were null online alone",
    ),
    Rule(
        "doubtful",
        "doubtful",
        watch=1e-12,
        unit="%",
        within=TILE,
        missing="keep",
        sentence="{value} of served values differ since the data were changed or lack something",
    ),
)
QUALITY = (
    Rule(
        "check",
        "check_failed",
        alert=1,
        within=CHECKED,
        missing="keep",
        sentence="{value} fail it beyond what may: uploads are refused",
    ),
    Rule(
        "doubted",
        "check_doubted",
        watch=1,
        within=CHECKED,
        missing="keep",
        sentence="{value} fail it beyond what may",
    ),
    Rule(
        "deletions",
        "deletions",
        alert=1e-12,
        unit="%",
        within=REFUSED_UPLOAD_AGE,
        missing="keep",
        sentence=(
            "an upload was refused that would take away {value} of its rows or keys, and what was"
            " there serves on"
        ),
    ),
)
RULES = (*FRESHNESS, *DRIFT, *VOIDS, *CONSISTENCY, *QUALITY)


def rule(name: str) -> Rule:
    """Returns one of the default rules by its id."""
    return next(r for r in RULES if r.id == name)
