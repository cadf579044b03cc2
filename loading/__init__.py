"""The parts of load.py and backups.py: sources, rules, and the tables to fill."""
