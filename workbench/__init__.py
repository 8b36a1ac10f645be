from workbench.aggregates import *
from workbench.definitions import Aggregation, GroupBy, trailing
from workbench.joins import Join, JoinPart
from workbench.sources import EntitySource, EventSource
from workbench.windows import days, hours, minutes
from workbench.training import backfill
from workbench.aggregates import last_k
