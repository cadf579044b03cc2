"""Restoring backups and importing CSV files."""
