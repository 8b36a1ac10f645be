"""The public verb `freshness` and its result, which prints as text and as HTML."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from attrs import field, frozen

from workbench.definitions.group_by import GroupBy
from workbench.definitions.join import Join
from workbench.html import definition_view
from workbench.html.markup import Markup, row, section, tag
from workbench.monitoring.alerts import findings_store
from workbench.monitoring.alerts.alert_rules import evaluate
from workbench.monitoring.alerts.default_rules import FRESHNESS, LANDING, QUALITY
from workbench.monitoring.alerts.finding_values import NO_FINDINGS, Finding, Findings
from workbench.monitoring.alerts.monitor_pass import current, of_checks
from workbench.monitoring.lag.freshness_svg import lag_lanes, lag_strip, landing, words
from workbench.monitoring.lag.lag_figures import figures
from workbench.monitoring.lag.partition_standing import WORDS, Expected, PartitionStanding, lanes
from workbench.monitoring.lag.store_marks import Marks, read_marks
from workbench.online.formatting import format_figure
from workbench.online.legible_text import written

if TYPE_CHECKING:
    from collections.abc import Iterable

    from workbench.monitoring.alerts.alert_rules import Rule
    from workbench.monitoring.alerts.finding_values import Figure
    from workbench.online.storage.store import Store

SIGNS = {
    "alert": ("▲", "alert"),
    "watch": ("◆", "warn"),
    "ok": ("✓", "ok"),
    "not judged": ("◌", "muted"),
}
HEADS = ("", "group-by", "batch age", "newest fact", "write lag p99", "max", "late", "partitions")
MAX_FINDINGS_SHOWN = 8  # findings


@frozen(repr=False, eq=False)
class Freshness:
    """The freshness of what is served under some names, as of `now`.

    It is true where every finding is `ok` or `watch`: what was not judged is never good. `findings`
    are the rules' findings, worst first; `figures` every number; `lanes` the state of each
    partition; `marks` what the store recorded.
    """

    name: str
    now: datetime
    marks: Marks = field(repr=False)
    figures: tuple[Figure, ...]
    findings: Findings
    lanes: tuple[PartitionStanding, ...]

    def __bool__(self) -> bool:
        return self.status in ("ok", "watch") and not self.findings.unjudged

    @property
    def status(self) -> str:
        """The worst of the findings; `ok` only where everything that can be judged is judged."""
        return self.findings.status

    # the field's own word
    def value(self, kind: str, object: str, place: str = "", feature: str = "") -> float | None:  # noqa: A002
        """Returns one figure's number; None where there is no such figure."""
        return next(
            (
                f.value
                for f in self.figures
                if (f.kind, f.object, f.place, f.feature) == (kind, object, place, feature)
            ),
            None,
        )

    @property
    def verdict(self) -> str:
        """The worst finding, in one sentence."""
        worst = next(iter(self._told()), None)
        if worst is None:
            grey = self.findings.unjudged
            more = f" (and {len(grey) - 1} more)" if len(grey) > 1 else ""
            return (
                f"{grey[0].sentence}{more}"
                if grey
                else (
                    "everything that is measured is as fresh as expected"
                    if self.findings.counts["ok"]
                    else "nothing can be told"
                )
            )
        return worst.sentence

    def _rows(self) -> list[tuple[str, ...]]:
        rows = []
        for g in self.marks.group_bys:
            group_lanes = [lane for lane in self.lanes if lane.group_by == g]
            states = ", ".join(
                f"{sum(lane.state == s for lane in group_lanes)} {s}"
                for s in WORDS
                if any(lane.state == s for lane in group_lanes)
            )
            cells = [
                _span(self.value(kind, g))
                for kind in ("batch_age", "fact_age", "write_lag_p99", "write_lag_max")
            ]
            late = self.value("late_rate", g)
            status = next(
                (f.status for f in self.findings.findings if f.subject.object == g and not f.moot),
                "not judged",
            )
            rows.append(
                (
                    f"{SIGNS[status][0]} {status}",
                    g,
                    *cells,
                    "–" if late is None else format_figure(late, "%"),
                    states or "no stream",
                )
            )
        return rows

    def _told(self) -> tuple[Finding, ...]:
        return tuple(f for f in self.findings.findings if f.status in ("alert", "watch"))

    def _more(self) -> str:
        """Says in words what is not listed."""
        more, grey = len(self._told()) - MAX_FINDINGS_SHOWN, self.findings.counts["not judged"]
        remarks = [f"{more} more alerts and watches"] if more > 0 else []
        return ", ".join([*remarks, *([f"{grey} not judged"] if grey else [])])

    def __repr__(self) -> str:
        head = f"{self.name}: {self.status} as of {self.now:%Y-%m-%d %H:%M:%S} UTC: {self.verdict}"
        sentences = [
            f"  {SIGNS[f.status][0]} {f.sentence}" for f in self._told()[:MAX_FINDINGS_SHOWN]
        ]
        states = sorted({lane.state for lane in self.lanes}, key=list(WORDS).index)
        lines = [
            head,
            "",
            *definition_view.table(HEADS, self._rows(), right=(2, 3, 4, 5, 6)),
            *([""] if sentences or self._more() else []),
            *sentences,
            *([f"  ... {self._more()}: .findings"] if self._more() else []),
        ]
        return written([*lines, *([""] if states else []), *(f"  {s}: {WORDS[s]}" for s in states)])

    def _repr_html_(self) -> str:
        sign, style = SIGNS[self.status]
        head = tag(
            "header",
            tag("h3", tag("span", sign, class_=f"mark {style}"), " Freshness of ", self.name),
            tag("span", self.status, class_="chip"),
            tag("span", f"as of {self.now:%Y-%m-%d %H:%M} UTC", class_="muted"),
        )
        finding_list = tag(
            "ul",
            *(
                tag(
                    "li",
                    tag(
                        "span",
                        f"{SIGNS[f.status][0]} {f.status}",
                        class_=f"mark {SIGNS[f.status][1]}",
                    ),
                    f.sentence,
                )
                for f in self._told()[:MAX_FINDINGS_SHOWN]
            ),
            *(
                [
                    tag(
                        "li",
                        tag("span", "◌", class_="mark muted"),
                        tag("span", self._more(), class_="muted"),
                    )
                ]
                if self._more()
                else []
            ),
            class_="told",
        )
        classes = dict.fromkeys((2, 3, 4, 5, 6), "num")
        grid = tag(
            "table",
            tag("caption", f"Freshness of {self.name} by group-by"),
            tag("thead", row(HEADS, "th", classes)),
            tag("tbody", *(row(r, classes=classes) for r in self._rows())),
        )
        return str(
            section(
                head,
                finding_list,
                tag("div", grid, class_="scroll", tabindex="0"),
                *self._drawn(),
                label=f"Freshness of {self.name}",
            )
        )

    def _drawn(self) -> Iterable[Markup]:
        """Yields the drawings of each group-by: the lanes of its partitions, and its uploads."""
        week = self.now - timedelta(days=7)
        for g in self.marks.group_bys:
            drawn = lag_lanes(self.marks, g)
            if drawn:
                hours = round((self.marks.until - self.marks.since) / timedelta(hours=1))
                yield tag(
                    "div",
                    tag(
                        "h4",
                        "Lag of each partition ",
                        tag(
                            "span",
                            f"{g}, oldest event not servable yet, {hours} h: {words(drawn)}",
                            class_="muted",
                        ),
                    ),
                    lag_strip(drawn, self.marks.since, self.marks.until),
                    class_="lag",
                )
            uploads = [u for u in self.marks.uploads if u.group_by == g]
            if uploads:
                yield tag(
                    "div",
                    tag(
                        "h4",
                        "Uploads ",
                        tag(
                            "span",
                            f"{g}, from the end of the batch to when it was there, 7 d; behind:"
                            " when it is expected",
                            class_="muted",
                        ),
                    ),
                    landing(uploads, week, self.now, expected=LANDING),
                    class_="lag",
                )


def _span(seconds: float | None) -> str:
    return "–" if seconds is None else format_figure(seconds, "s")


def freshness(
    store: Store,
    name: GroupBy | Join | str | None = None,
    *,
    now: datetime | None = None,
    expected: Expected | None = None,
    rules: Iterable[Rule] | None = None,
) -> Freshness:
    """Returns the freshness of one served name, or of all, as of `now`, from the store's own marks.

    A definition stands for its name.

    Batches: their age, when they landed, how old their newest fact is, and which checks they fail.
    Streams: how long each event took until it could be fetched, what waits, by partition, whether
    silence is quiet (a canary shows it) or cannot be judged, what could not be read, and which
    inputs are null more often than in the table. Served answers: how old their facts were. It
    continues from the findings of a monitor's earlier passes, and nothing is written. `expected`
    states the promised freshness. The last hour counts for lags, the last day for served answers.

    Raises StoreError where nothing is published under the name.
    """
    if isinstance(name, GroupBy | Join):
        name = name.name
    at = (now if now.tzinfo else now.replace(tzinfo=UTC)) if now else datetime.now(UTC)
    marks = read_marks(store, name, now=at)
    checks = {(f.kind, f.subject): f for plan in marks.plans for f in of_checks(store, plan)}
    measurements = (*figures(marks, expected), *checks.values())
    before = (
        NO_FINDINGS
        if name is None
        else current(marks.plans[0], findings_store.latest(store, name, now=at))
    )
    judged = evaluate((*FRESHNESS, *QUALITY) if rules is None else rules, measurements, at, before)
    return Freshness(name or "everything", at, marks, measurements, judged, lanes(marks))
