"""Jobs for Spark on Dataproc and for Vertex AI: work that one function cannot do.

    distributed_backup   Dataproc    a backup by many workers at once
    forecast             Vertex AI   future hires per department and month, from the newest backup

The functions' upload contains none of this. A `submit-*.sh` submits each job to Google;
`python -m jobs.NAME` runs it on this machine.
"""
