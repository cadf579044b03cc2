# shellcheck shell=bash disable=SC2034
# The operator's commands as Cloud Run jobs of one image: hiring-operate runs any command, which each
# execution names; hiring-drill only drills, and hiring-backup only backs up, as the function's account.

JOBS=(hiring-operate hiring-drill hiring-backup)
DRILL_JOB=hiring-drill-monthly
DRILL_AGE_JOB=backup-data-drill-age
OLDEST_DRILL_DAYS=35
JOB_LIMITS=(--tasks=1 --max-retries=0 --memory=1Gi --cpu=2) # nothing is repeated by itself
DAY=86400

operate() {
    local parts=(operate drill) may_delete=${OPERATE_MAY_DELETE:-} who
    may_delete=${may_delete#no}
    check_login
    require_deployed "service account hiring-build" \
        iam service-accounts describe "$(account hiring-build)"
    check_instance
    check_users "${parts[@]}"
    ensure_account hiring-operate "Commands of the operator on the hiring database"
    ensure_account hiring-drill "Restores backups into a scratch database"
    grant_bucket operate "$may_delete"
    grant_bucket drill
    for who in "${parts[@]}" backup; do ensure_password "$who"; done
    ensure_way_to_database "${parts[@]}" backup
    step "image of the commands"
    copy_modules "$WORK/image"
    do_here cp deploy/Dockerfile "$WORK/image"
    do_here cp deploy/requirements.lock "$WORK/image/requirements.txt"
    build_image "operate:$(date -u +%Y%m%d-%H%M%S)" "$WORK/image"
    deploy_job operate list "$DAY" "${may_delete:+$KEEP_BACKUPS}"
    deploy_job drill drill "$DAY" ""
    deploy_job backup backup "$((7 * DAY))" "$KEEP_BACKUPS"
}

deploy_job() { # WHO COMMAND SECONDS MORE_VARIABLES; the command stops itself before Cloud Run does
    local who=$1 command=$2 seconds=$3 more=$4
    describe_database "$who"
    # A job has no flag that clears its instances.
    WAY=("${WAY[@]/--clear-cloudsql-instances/--set-cloudsql-instances=}")
    step "job hiring-$who"
    run run jobs deploy "hiring-$who" --region="$REGION" --image="$IMAGE" \
        --service-account="$(account "hiring-$who")" --set-secrets="$SECRETS" \
        --set-env-vars="GCS_PATH=$GCS_PATH,TASK_TIMEOUT_SECONDS=$seconds,$VARIABLES$more" \
        "${WAY[@]}" "${JOB_LIMITS[@]}" --task-timeout="$seconds" --args="$command"
}

# Has Scheduler start the drill on the first of each month, and ask every day how old the newest is.
schedule_drill() {
    step "job hiring-drill"
    "$DRY_RUN" || exists run jobs describe hiring-drill --region="$REGION" || return 0
    grant "run jobs" hiring-drill schedule run.invoker --region="$REGION"
    ensure_job "$DRILL_JOB" --schedule="0 6 1 * *" --http-method=POST \
        --uri="https://run.googleapis.com/v2/projects/$PROJECT_ID/locations/$REGION/jobs/hiring-drill:run" \
        --oauth-service-account-email="$(account hiring-schedule)" --max-retry-attempts=0
    call_backup "$DRILL_AGE_JOB" GET "/?max_drill_age_days=$OLDEST_DRILL_DAYS" "$1" \
        --max-retry-attempts=0
}
