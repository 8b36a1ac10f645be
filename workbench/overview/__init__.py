"""A first look at a table: what each column holds, and the definition that it suggests."""

from workbench.overview.table_preview import TablePreview, table_preview

__all__ = ["TablePreview", "table_preview"]
