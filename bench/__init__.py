"""Measures how fast this project is, beside other ways, on a separate stack for each benchmark.

    python -m bench.backups       a list and a prune of 1,000 backups
    python -m bench.backup        a backup, other ways to one, and the lower bound: the raw read
    python -m bench.reports       our SQL beside the straightforward one
    python -m bench.cold_start    the time of the imports, and the modules that a report loads
    python -m bench.large         a backup of ten million employees
    python -m bench.load          a restore beside `mysql < dump.sql`
    python -m bench.requests      reports a second, in each format

Each prints the date, the machine's size and its results, and cleans up after itself. All processes
communicate over loopback or unix sockets.
"""
