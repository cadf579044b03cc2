"""Jobs for Spark on Dataproc and for Vertex AI, which `submit.sh` submits to Google."""
