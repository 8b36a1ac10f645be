"""The mark of a status on the dashboard: a glyph and a colour."""

from __future__ import annotations

from workbench.html.markup import Markup
from workbench.monitoring.dashboards.board import ALERT, OK, UNJUDGED, WATCH

GLYPHS = {ALERT: ("▲", "alert"), WATCH: ("◆", "warn"), OK: ("✓", "ok"), UNJUDGED: ("◌", "muted")}


def status_mark(status: str) -> Markup:
    """Returns a status as glyph and word."""
    glyph, class_ = GLYPHS[status]
    return Markup(f'<span class="mark {class_}">{glyph} {status}</span>')
