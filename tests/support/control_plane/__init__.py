"""A small Google Cloud on loopback: the control plane that the real gcloud talks to in tests.

It keeps state and refuses what Google refuses. gcloud uses it as its HTTP proxy, under the names of
Google's services; nothing leaves the machine.

    refusals.py    Google's refusals, from the table that deploy.sh reads too
    project.py     the state: services, accounts, policies, and what happened to each function
    resources.py   services, accounts, policies, buckets, secrets, instances, scheduler
    monitoring.py  notification channels and alert policies
    log_filter.py  Cloud Logging's filters, as far as the policies use them
    functions.py   builds, revisions, traffic, and calls of the deployed functions
    run_jobs.py    Cloud Run jobs, whose executions run the image's command
    jobs.py        builds of images, batches and custom jobs
    server.py      the proxy, and errors as Google words them
    gcloud.py      the real gcloud, connected to it
"""

from control_plane.gcloud import Gcloud
from control_plane.project import Fault, Project

__all__ = ["Fault", "Gcloud", "Project"]
