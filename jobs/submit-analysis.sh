#!/usr/bin/env bash
# Has Dataproc compute both reports for every year from the newest complete backup.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=jobs/submit.sh
source jobs/submit.sh

usage() {
    cat <<'END'
Usage: jobs/submit-analysis.sh [--dry-run]

Runs jobs/analysis.py on Dataproc, after ./deploy.sh. Settings come from the environment or from
deploy.env. Waits for the end and shows what the job says.
  --dry-run  print every command that would change something, call nothing
END
}

main() {
    read_arguments "" "$@"
    prepare PROJECT_ID REGION GCS_PATH DB_NAME
    step "enable the service"
    run services enable dataproc.googleapis.com
    ensure_jobs_account roles/dataproc.worker
    pack_for_dataproc
    submit_to_dataproc analysis jobs/analysis.py GCS_PATH="$GCS_PATH" DB_NAME="$DB_NAME"
}

main "$@"
