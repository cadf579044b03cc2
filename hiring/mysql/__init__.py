"""The MySQL client: logging in, sessions, statements, row packets, server errors."""
