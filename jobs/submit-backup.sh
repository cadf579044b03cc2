#!/usr/bin/env bash
# Has Dataproc back up tables that one function can't read within its hour.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=jobs/submit.sh
source jobs/submit.sh

usage() {
    cat <<'END'
Usage: jobs/submit-backup.sh [--dry-run] [--workers=N]

Runs jobs/distributed_backup.py on Dataproc, after ./deploy.sh. Settings come from the environment or
from deploy.env; JOBS_DB_HOST is the private address of the instance or of a replica. Waits for the
end and shows what the job says.
  --workers=N  how many connections read at a time: a multiple of 4, 8 by default
  --dry-run    print every command that would change something, call nothing
END
}

main() {
    read_arguments '--workers=[1-9][0-9]*' "$@"
    local workers=${JOB_ARGUMENTS[0]:---workers=8}
    workers=${workers#--workers=}
    ((workers % EXECUTOR_CORES == 0 && workers > EXECUTOR_CORES)) ||
        stop "--workers takes a multiple of $EXECUTOR_CORES, at least $((2 * EXECUTOR_CORES))"
    prepare PROJECT_ID REGION GCS_PATH DB_NAME INSTANCE_CONNECTION_NAME JOBS_DB_HOST
    check_users jobs
    step "enable the service"
    run services enable dataproc.googleapis.com
    ensure_jobs_account dataproc.worker
    # The job's account reads the password itself, because anybody can see a batch's properties.
    ensure_password jobs
    pack_for_dataproc
    local secret=projects/$PROJECT_ID/secrets/hiring-jobs-password/versions/latest
    submit_to_dataproc backup jobs/distributed_backup.py $((workers / EXECUTOR_CORES)) \
        GCS_PATH="$GCS_PATH" DB_HOST="$JOBS_DB_HOST" DB_NAME="$DB_NAME" DB_USER="$(db_user jobs)" \
        DB_PASS_SECRET="$secret" -- --workers="$workers"
}

main "$@"
