"""What expressions mean on every engine: rewrites to rules that all of them share."""
