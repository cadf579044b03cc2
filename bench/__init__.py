"""How fast it is, measured beside what else there is, on a stack of each benchmark's own.

    python -m bench.backup        this backup, other ways to one, and the floor: the raw read
    python -m bench.reports       our SQL beside the straightforward one
    python -m bench.cold_start    what importing costs, and what a report loads
    python -m bench.large         ten million employees
    python -m bench.load          a restore beside `mysql < dump.sql`
    python -m bench.requests      warm requests a second, in each format

Each prints a table with the date and the machine's size and cleans up after itself. Everything
talks over loopback or unix sockets.
"""
