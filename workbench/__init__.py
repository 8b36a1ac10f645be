"""Define features as Ibis expressions in a notebook; get the same number everywhere."""

from backends import EngineError
from workbench.aggregates import bottom_k, each, first_k, histogram, kurtosis, last_k, skew, top_k
from workbench.certificate import Certificate, compare
from workbench.definitions import Aggregation, GroupBy, trailing
from workbench.errors import CheckError, DefinitionError
from workbench.estimates import approx_histogram, approx_percentile, approx_unique_count
from workbench.inspection import Explanation, explain
from workbench.inventory.entries import Entry
from workbench.inventory.view import Catalog, catalog
from workbench.joins import Join, JoinPart
from workbench.publication import Proposal, Publication, history, publish, rollback, unpublish, upload
from workbench.reasons import why
from workbench.sources import EntitySource, EventSource
from workbench.testing import Checked, check
from workbench.timeline import Preview, preview
from workbench.topics import Topic
from workbench.training import backfill, manifest
from workbench.windows import Window, days, hours, minutes

__all__ = [
    "Aggregation",
    "Catalog",
    "Certificate",
    "CheckError",
    "Checked",
    "DefinitionError",
    "EngineError",
    "EntitySource",
    "Entry",
    "EventSource",
    "Explanation",
    "GroupBy",
    "Join",
    "JoinPart",
    "Preview",
    "Proposal",
    "Publication",
    "Topic",
    "Window",
    "approx_histogram",
    "approx_percentile",
    "approx_unique_count",
    "backfill",
    "bottom_k",
    "catalog",
    "check",
    "compare",
    "days",
    "each",
    "explain",
    "first_k",
    "histogram",
    "history",
    "hours",
    "kurtosis",
    "last_k",
    "manifest",
    "minutes",
    "preview",
    "publish",
    "rollback",
    "skew",
    "top_k",
    "trailing",
    "unpublish",
    "upload",
    "why",
]
