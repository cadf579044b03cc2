"""Errors, log lines, settings, deadlines and the database connection: imports nothing of ours."""
