# shellcheck shell=bash disable=SC2034
# Schedules the nightly backup and the check of its age: Cloud Scheduler calls both, as an account
# that may do nothing else.

SCHEDULE_ACCOUNT=hiring-schedule
BACKUP_JOB=backup-data-nightly
AGE_JOB=backup-data-age
LONGEST_ATTEMPT=30m # the most that Cloud Scheduler allows
NIGHTLY="0 3 * * *"
# Hours between a nightly call and the check of its backup, which takes at most an hour.
AGE_CHECK_AFTER=2
# The check wants a backup of the last day: the one of the night before is two hours older than
# that.
OLDEST_HOURS=24

schedule() {
    local services=(run iam cloudscheduler)
    [[ -z ${ALERT_CHANNEL:-} ]] || services+=(monitoring logging)
    require_deployed "function backup-data" run services describe backup-data --region="$REGION"
    find_services_off "${services[@]}"
    ((${#OFF[@]} == 0)) || enable_services "${OFF[@]}"
    [[ -z ${ALERT_CHANNEL:-} ]] || check_channel
    ensure_account "$SCHEDULE_ACCOUNT" "Calls the nightly backup"
    let_scheduler_call backup-data
    find_hour
    ensure_job "$BACKUP_JOB" POST "" "$HOUR"
    ensure_job "$AGE_JOB" GET "/?max_age_hours=$OLDEST_HOURS" "$(check_hour "$HOUR")"
    if [[ -n ${ALERT_CHANNEL:-} ]]; then ensure_alert; else remove_alert; fi
}

# usage: let_scheduler_call FUNCTION
let_scheduler_call() {
    step "rights of $SCHEDULE_ACCOUNT: calling $1"
    run run services add-iam-policy-binding "$1" --region="$REGION" \
        --member="serviceAccount:$(account "$SCHEDULE_ACCOUNT")" --role=roles/run.invoker
}

# Sets HOUR and ZONE to those of the nightly job, which somebody may have changed.
find_hour() {
    step "hour of $BACKUP_JOB"
    HOUR=$NIGHTLY ZONE=Etc/UTC
    ! exists scheduler jobs describe "$BACKUP_JOB" --location="$REGION" \
        --format="value[separator='|'](schedule,timeZone)" || IFS='|' read -r HOUR ZONE <<<"$ANSWER"
}

# usage: check_hour SCHEDULE
# Prints the schedule of the check for a backup's schedule: some hours later on the same days. If
# that is not one time of a day, or would fall on other days, the check runs daily as for a nightly
# backup.
check_hour() {
    local minute hour days
    IFS=' ' read -r minute hour days <<<"$1"
    if [[ $minute =~ ^[0-9]{1,2}$ && $hour =~ ^[0-9]{1,2}$ ]]; then
        hour=$((10#$hour + AGE_CHECK_AFTER))
        if ((hour < 24)) || [[ $days == "* * *" ]]; then
            printf '%s' "$minute $((hour % 24)) $days"
            return
        fi
    fi
    note "  its schedule, $1, is not one time of a day; its age is checked as if it ran at $NIGHTLY"
    check_hour "$NIGHTLY"
}

# usage: ensure_job JOB METHOD QUERY SCHEDULE
# Creates or updates a job that calls the backup function.
ensure_job() {
    local name=$1 method=$2 query=$3 hour=$4 url verb=create
    step "job $name"
    ask run services describe backup-data --region="$REGION" --format='value(status.url)'
    url=${ANSWER:-https://URL-of-backup-data}
    ! exists scheduler jobs describe "$name" --location="$REGION" || verb=update
    run scheduler jobs "$verb" http "$name" --location="$REGION" --uri="$url$query" \
        --http-method="$method" --schedule="$hour" --time-zone="$ZONE" \
        --oidc-service-account-email="$(account "$SCHEDULE_ACCOUNT")" \
        --oidc-token-audience="$url" --attempt-deadline="$LONGEST_ATTEMPT" --max-retry-attempts=0
}
