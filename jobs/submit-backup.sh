#!/usr/bin/env bash
# Has Dataproc back up tables that one function can't read within its hour.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=jobs/submit.sh
source jobs/submit.sh

usage() {
    cat <<'END'
Usage: jobs/submit-backup.sh [--dry-run] [--ranges=N] [--allow-changes]

Runs jobs/distributed_backup.py on Dataproc, after ./deploy.sh. Settings come from the environment or
from deploy.env; JOBS_DB_HOST is the private address of a clone or a stopped replica. Waits for the
end and shows what the job says.
  --ranges=N       about how many objects there are to be
  --allow-changes  take a backup that is not of one moment, if somebody writes meanwhile
  --dry-run        print every command that would change something, call nothing
END
}

main() {
    read_arguments '--ranges=[1-9][0-9]*|--allow-changes' "$@"
    prepare PROJECT_ID REGION GCS_PATH DB_NAME INSTANCE_CONNECTION_NAME JOBS_DB_HOST
    check_users jobs
    step "enable the service"
    run services enable dataproc.googleapis.com
    ensure_jobs_account dataproc.worker
    # The job's account reads the password itself, because anybody can see a batch's properties.
    ensure_password jobs
    pack_for_dataproc
    local secret=projects/$PROJECT_ID/secrets/hiring-jobs-password/versions/latest
    local arguments=()
    ((${#JOB_ARGUMENTS[@]} == 0)) || arguments=(-- "${JOB_ARGUMENTS[@]}")
    submit_to_dataproc backup jobs/distributed_backup.py GCS_PATH="$GCS_PATH" \
        DB_HOST="$JOBS_DB_HOST" DB_NAME="$DB_NAME" DB_USER="$(db_user jobs)" \
        DB_PASS_SECRET="$secret" "${arguments[@]}"
}

main "$@"
