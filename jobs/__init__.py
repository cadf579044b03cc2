"""Jobs for Spark on Dataproc and for Vertex AI: work that one function cannot do.

`submit.sh` submits a job to Google. The functions' upload contains none of this.
"""
