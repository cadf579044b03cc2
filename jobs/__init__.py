"""Jobs for Google's own engines, for what one function can't do: Spark on Dataproc, Vertex AI.

    distributed_backup   Dataproc    a backup by many workers at once
    analysis             Dataproc    both reports for every year, from the newest backup
    forecast             Vertex AI   hires per department and month to come, from the newest backup

Nothing here is deployed with the functions. The `submit-*.sh` beside each job hand it to Google;
`python -m jobs.NAME` runs it on this machine.
"""
