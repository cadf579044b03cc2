"""The operator's commands beside restoring: listing, checking, pruning, exporting backups."""
