"""The store in Postgres: schema, roles, connections, uploads and what is kept of each."""
