# shellcheck shell=bash disable=SC2034
# The backup every night: Cloud Scheduler calls it, as an account that may do nothing else.

SCHEDULE_ACCOUNT=hiring-schedule
BACKUP_JOB=backup-data-nightly
LONGEST_ATTEMPT=30m # the most that Cloud Scheduler allows

schedule() {
    find_services_off run iam cloudscheduler
    ((${#OFF[@]} == 0)) || enable_services "${OFF[@]}"
    ensure_account "$SCHEDULE_ACCOUNT" "Calls the nightly backup"
    let_scheduler_call backup-data
    ensure_job "$BACKUP_JOB" backup-data "" "0 3 * * *"
}

# usage: let_scheduler_call FUNCTION
let_scheduler_call() {
    step "rights of $SCHEDULE_ACCOUNT: calling $1"
    run run services add-iam-policy-binding "$1" --region="$REGION" \
        --member="serviceAccount:$(account "$SCHEDULE_ACCOUNT")" --role=roles/run.invoker
}

# usage: ensure_job JOB FUNCTION QUERY SCHEDULE
# An existing job keeps its hour, which may have been changed since; all else is set again.
ensure_job() {
    local name=$1 function=$2 query=$3 hour=$4 url job
    step "job $name"
    ask run services describe "$function" --region="$REGION" --format='value(status.url)'
    url=${ANSWER:-https://URL-of-$function}
    job=("$name" --location="$REGION" --uri="$url$query" --http-method=POST
        --oidc-service-account-email="$(account "$SCHEDULE_ACCOUNT")"
        --oidc-token-audience="$url" --attempt-deadline="$LONGEST_ATTEMPT" --max-retry-attempts=0)
    if exists scheduler jobs describe "$name" --location="$REGION"; then
        run scheduler jobs update http "${job[@]}"
    else
        run scheduler jobs create http "${job[@]}" --schedule="$hour" --time-zone=Etc/UTC
    fi
}
