"""A first look at a table: what each column holds, and the definition that it suggests."""
