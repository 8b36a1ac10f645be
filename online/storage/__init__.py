"""The store in Postgres: its catalog, roles, connections and uploads, and the tables of rows."""
