# shellcheck shell=bash disable=SC2034
# Has Cloud Scheduler call the nightly backup and the check of its age, as an account that may do
# nothing else.

BACKUP_JOB=backup-data-nightly
AGE_JOB=backup-data-age
LONGEST_ATTEMPT=30m # the most that Cloud Scheduler allows
# A failed backup is repeated once, when Scheduler's half hour for the first is over. A second backup
# is harmless.
REPEAT=(--max-retry-attempts=1 --min-backoff=35m --max-backoff=35m)
# Hours between a nightly call and the check of its backup.
AGE_CHECK_AFTER=2
# 24 h, not 26: last night's backup is 26 h old by then.
OLDEST_HOURS=24

schedule() {
    local hour=${BACKUP_HOUR:-3} alerts=()
    require_deployed "function backup-data" run services describe backup-data --region="$REGION"
    enable_services run iam cloudscheduler ${ALERT_CHANNEL:+monitoring logging}
    [[ -z ${ALERT_CHANNEL:-} ]] || { check_channel && alerts=("${ALERTS[@]:0:3}"); }
    ensure_account hiring-schedule "Calls the nightly backup"
    grant "run services" backup-data schedule run.invoker --region="$REGION"
    ask run services describe backup-data --region="$REGION" --format='value(status.url)'
    URL=${ANSWER:-https://URL-of-backup-data}
    call_backup "$BACKUP_JOB" POST "" "$hour" "${REPEAT[@]}"
    call_backup "$AGE_JOB" GET "/?max_age_hours=$OLDEST_HOURS" $(((hour + AGE_CHECK_AFTER) % 24)) \
        --max-retry-attempts=0
    schedule_drill $(((hour + AGE_CHECK_AFTER) % 24))
    replace_alerts "${alerts[@]}"
}

# Creates or updates a job that calls the backup function at an hour, UTC.
call_backup() { # JOB METHOD QUERY HOUR FLAG...
    local name=$1 method=$2 query=$3 hour=$4
    shift 4
    ensure_job "$name" --uri="$URL$query" --http-method="$method" --schedule="0 $hour * * *" \
        --oidc-service-account-email="$(account hiring-schedule)" --oidc-token-audience="$URL" "$@"
}

ensure_job() { # JOB FLAG...
    local name=$1 verb=create
    shift
    step "call $name"
    ! exists scheduler jobs describe "$name" --location="$REGION" || verb=update
    run scheduler jobs "$verb" http "$name" --location="$REGION" --time-zone=Etc/UTC \
        --attempt-deadline="$LONGEST_ATTEMPT" "$@"
}
