"""The operator's commands: backup, list, check, prune, drill, bigquery; what a load shows."""
