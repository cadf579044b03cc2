"""Measures how fast this project is, beside other ways, on a stack of its own.

    python -m bench.measure_backup      a backup, beside the raw read, a dump, and the usual way
    python -m bench.measure_restore     a restore and an import, beside `mysql < dump.sql`
    python -m bench.measure_requests    reports a second, in each format

Each prints the date, the machine's size and medians of several rounds in turn. MYSQLD names the
server to measure with; see local/programs.py.
"""
