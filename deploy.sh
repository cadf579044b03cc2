#!/usr/bin/env bash
# From a project with a Cloud SQL instance to four running functions; can be run again at any time.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck source=deploy/gcloud.sh
source deploy/gcloud.sh

REQUIRED=(PROJECT_ID REGION INSTANCE_CONNECTION_NAME GCS_PATH DB_NAME DB_USER_REPORTS DB_USER_CHANGES)

# Connections stay within what the smallest Cloud SQL instance takes (250):
#   reports              2 functions x 5 instances x 8 threads, each thread keeping one   =  80
#   backup, truncation   2 functions x 2 instances x 1 request with one                   =   4
# and twice that for the moments in which a new revision takes over from the old one        168
# Cloud Run itself allows 100 to each instance. More than one request at a time needs a whole CPU.
# CLOUD_RUN_TIMEOUT_SECONDS is stated because no page promises it; a backup that has to stop itself
# before the platform does must know its limit.
REPORT_THREADS=8
REPORT_TIMEOUT=60
REPORT_LIMITS=(--memory=512Mi --cpu=1 --timeout="${REPORT_TIMEOUT}s"
    --concurrency="$REPORT_THREADS" --max-instances=5)
CHANGE_TIMEOUT=3600
CHANGE_LIMITS=(--memory=1Gi --cpu=2 --timeout="${CHANGE_TIMEOUT}s" --concurrency=1 --max-instances=2)

FUNCTIONS=(quarterly-hired hiring-by-department backup-data truncate-tables)
BACKUP_JOB=backup-data-nightly
LONGEST_ATTEMPT=30m # the most that Cloud Scheduler allows

ACTION=deploy

usage() {
    cat <<'END'
Usage: ./deploy.sh [--dry-run] [schedule | delete]

Deploys the four functions, with the accounts, secrets and bucket that they need. Settings come from
the environment or from deploy.env (deploy/deploy.env.example has them all).
The passwords of the two database users are asked for once and kept in Secret Manager; where
standard input is not a terminal, its first line is the reports' and its second the changes'.
  schedule   have Cloud Scheduler call the backup every night
  delete     remove the functions and the scheduled job, nothing that holds data
  --dry-run  print every command that would change something, call nothing
END
}

# A malformed setting is named with its form, before anything is called.
check_settings() {
    require_settings "$@"
    RUNTIME=${RUNTIME:-python313}
    PUBLIC_REPORTS=${PUBLIC_REPORTS:-yes}
    INVOKERS=${INVOKERS:-}
    VPC_CONNECTOR=${VPC_CONNECTOR:-}
    [[ $PUBLIC_REPORTS == yes || $PUBLIC_REPORTS == no ]] ||
        stop "PUBLIC_REPORTS is yes or no, not: $PUBLIC_REPORTS"
    check_plain "${REQUIRED[@]}" RUNTIME VPC_CONNECTOR
    # What changes data is never open to everyone, not by this door either.
    [[ ",${INVOKERS// /}," != *,all* ]] || stop "INVOKERS names people and accounts, not: $INVOKERS"
    if [[ $ACTION == deploy ]]; then check_places; fi
}

# The two settings that are put together from parts.
check_places() {
    [[ $INSTANCE_CONNECTION_NAME =~ ^([a-z0-9.-]+:)?[a-z0-9-]+:[a-z0-9-]+:[a-z0-9-]+$ ]] ||
        stop "INSTANCE_CONNECTION_NAME is project:region:instance or" \
            "domain:project:region:instance, not: $INSTANCE_CONNECTION_NAME"
    check_gcs_path
}

enable_services() {
    step "enable the services"
    run services enable cloudfunctions.googleapis.com run.googleapis.com cloudbuild.googleapis.com \
        artifactregistry.googleapis.com sqladmin.googleapis.com storage.googleapis.com \
        secretmanager.googleapis.com iam.googleapis.com
}

# A bucket that was there before may serve others too: what does not suit us is said, not changed.
ensure_bucket() {
    local bucket=$1 fields uniform prevention soft_delete
    fields=uniform_bucket_level_access,public_access_prevention
    fields+=,soft_delete_policy.retentionDurationSeconds
    local protection=(--uniform-bucket-level-access --public-access-prevention --soft-delete-duration=7d)
    step "bucket gs://$bucket"
    if exists storage buckets describe "gs://$bucket"; then
        ask storage buckets describe "gs://$bucket" --format="value[separator=' ']($fields)"
        read -r uniform prevention soft_delete <<<"$ANSWER"
        [[ $uniform == True && $prevention == enforced && ${soft_delete:-0} -ge 604800 ]] ||
            stop "gs://$bucket exists, but without uniform access, public access prevention or seven" \
                "days of soft delete. Name another bucket, or change this one:" \
                "$(as_typed gcloud storage buckets update "gs://$bucket" "${protection[@]}")"
    else
        run storage buckets create "gs://$bucket" --location="$REGION" "${protection[@]}"
    fi
}

# Sets PASSWORD from a hidden prompt, or from one of the two lines of standard input.
read_password() {
    local user=$1 line=$2
    if [[ -t $INPUT ]]; then
        IFS= read -rsu "$INPUT" -p "Password of database user $user: " PASSWORD || true
        printf '\n' >&2
    else
        [[ -v PASSWORD_LINES ]] || mapfile -t -n 2 -u "$INPUT" PASSWORD_LINES
        PASSWORD=${PASSWORD_LINES[line]:-}
    fi
    [[ -n $PASSWORD ]] || stop "failed: $STEP: no password for database user $user was given"
}

# The secret and its first version are two steps, so that a run that ended between them goes on here.
ensure_password() {
    local who=$1 user=$2 line=$3
    local secret=hiring-$who-password
    step "secret $secret"
    exists secrets describe "$secret" ||
        run secrets create "$secret" --replication-policy=automatic
    step "password of database user $user"
    if ! exists secrets versions describe latest --secret="$secret"; then
        PASSWORD=""
        "$DRY_RUN" || read_password "$user" "$line"
        printf '%s' "$PASSWORD" | run secrets versions add "$secret" --data-file=-
    fi
}

# Either kind of function may connect to this instance and read its own password, no more.
grant_database() {
    local who=$1 member
    member=serviceAccount:$(account "hiring-$who")
    local instance=${INSTANCE_CONNECTION_NAME##*:}
    local project=${INSTANCE_CONNECTION_NAME%:*:*}
    local condition="resource.name == 'projects/$project/instances/$instance'"
    condition+=" && resource.type == 'sqladmin.googleapis.com/Instance'"
    step "rights of hiring-$who: this instance, its own password"
    run projects add-iam-policy-binding "$project" --member="$member" --role=roles/cloudsql.client \
        --condition="title=only-$instance,expression=$condition"
    run secrets add-iam-policy-binding "hiring-$who-password" --member="$member" \
        --role=roles/secretmanager.secretAccessor
}

# Since 2024 a new project's default build account may build nothing, so there is one of our own.
grant_build() {
    step "rights of hiring-build: building"
    run projects add-iam-policy-binding "$PROJECT_ID" --condition=None \
        --member="serviceAccount:$(account hiring-build)" --role=roles/cloudbuild.builds.builder
}

# A deployment forgets the Cloud SQL socket, for which `functions deploy` has no flag: it is attached
# afterwards, every time.
deploy_function() {
    local name=$1 entry_point=$2 who=$3 access=$4 variables=$5
    shift 5
    local network=(--clear-vpc-connector)
    [[ -z $VPC_CONNECTOR ]] || network=(--vpc-connector="$VPC_CONNECTOR")
    variables+=",DB_NAME=$DB_NAME,INSTANCE_CONNECTION_NAME=$INSTANCE_CONNECTION_NAME"
    step "function $name"
    run functions deploy "$name" --gen2 --region="$REGION" --runtime="$RUNTIME" --source=. \
        --trigger-http --entry-point="$entry_point" "$access" \
        --service-account="$(account "hiring-$who")" \
        --build-service-account="projects/$PROJECT_ID/serviceAccounts/$(account hiring-build)" \
        --set-env-vars="$variables" --set-secrets="DB_PASS=hiring-$who-password:latest" \
        "${network[@]}" "$@"
    run run services update "$name" --region="$REGION" \
        --add-cloudsql-instances="$INSTANCE_CONNECTION_NAME"
    [[ $access == --allow-unauthenticated ]] || grant_invokers "$name"
}

grant_invokers() {
    local member members
    IFS=', ' read -ra members <<<"$INVOKERS"
    for member in "${members[@]}"; do
        run run services add-iam-policy-binding "$1" --region="$REGION" \
            --member="$member" --role=roles/run.invoker
    done
}

deploy_report() {
    local access=--allow-unauthenticated
    [[ $PUBLIC_REPORTS == yes ]] || access=--no-allow-unauthenticated
    local variables="THREADS=$REPORT_THREADS,CLOUD_RUN_TIMEOUT_SECONDS=$REPORT_TIMEOUT"
    deploy_function "$1" "$2" reports "$access" "$variables,DB_USER=$DB_USER_REPORTS" \
        "${REPORT_LIMITS[@]}"
}

deploy_change() {
    local variables="CLOUD_RUN_TIMEOUT_SECONDS=$CHANGE_TIMEOUT,GCS_PATH=$GCS_PATH"
    deploy_function "$1" "$2" changes --no-allow-unauthenticated \
        "$variables,DB_USER=$DB_USER_CHANGES" "${CHANGE_LIMITS[@]}"
}

# Sets URL to a function's own.
find_url() {
    ask functions describe "$1" --region="$REGION" --format="value(serviceConfig.uri)"
    URL=$ANSWER
    ! "$DRY_RUN" || URL=https://URL-of-$1
}

# The line for the truncation is the one that only counts: it is there to be pasted.
print_calls() {
    local name identity query
    local calls=()
    step "the four URLs"
    for name in "${FUNCTIONS[@]}"; do
        find_url "$name"
        identity=" -H \"Authorization: Bearer \$(gcloud auth print-identity-token)\""
        query=""
        case $name in
        quarterly-hired | hiring-by-department)
            [[ $PUBLIC_REPORTS == no ]] || identity=""
            query="?year=2021"
            ;;
        truncate-tables) query="?dry_run=true" ;;
        esac
        calls+=("$name: $URL" "  curl$identity '$URL$query'")
    done
    printf '%s\n' "${calls[@]}"
}

deploy() {
    local bucket
    bucket=$(bucket)
    enable_services
    # The accounts first, and the build's rights early: it takes a while until all of Google knows.
    ensure_account hiring-reports "Reports of the hiring database"
    ensure_account hiring-changes "Backup and truncation of the hiring database"
    ensure_account hiring-build "Builds the hiring functions"
    grant_build
    ensure_bucket "$bucket"
    ensure_password reports "$DB_USER_REPORTS" 0
    ensure_password changes "$DB_USER_CHANGES" 1
    grant_database reports
    grant_database changes
    grant_bucket "$bucket" hiring-changes
    deploy_report quarterly-hired quarterly_hired
    deploy_report hiring-by-department hiring_by_department
    deploy_change backup-data backup_data
    deploy_change truncate-tables truncar_tablas
    print_calls
}

# An existing job keeps its hour, which may have been changed since; all else is set again.
schedule() {
    local caller job
    caller=$(account hiring-schedule)
    step "enable the scheduler"
    run services enable cloudscheduler.googleapis.com
    ensure_account hiring-schedule "Calls the nightly backup"
    step "rights of hiring-schedule: calling the backup"
    run run services add-iam-policy-binding backup-data --region="$REGION" \
        --member="serviceAccount:$caller" --role=roles/run.invoker
    step "URL of the backup"
    find_url backup-data
    step "job $BACKUP_JOB"
    job=("$BACKUP_JOB" --location="$REGION" --uri="$URL" --http-method=POST
        --oidc-service-account-email="$caller" --oidc-token-audience="$URL"
        --attempt-deadline="$LONGEST_ATTEMPT" --max-retry-attempts=0)
    if exists scheduler jobs describe "$BACKUP_JOB" --location="$REGION"; then
        run scheduler jobs update http "${job[@]}"
    else
        run scheduler jobs create http "${job[@]}" --schedule="0 3 * * *" --time-zone=Etc/UTC
    fi
}

# The job goes first, or it would call a function that is gone.
delete() {
    local name
    step "job $BACKUP_JOB"
    ! exists scheduler jobs describe "$BACKUP_JOB" --location="$REGION" ||
        run scheduler jobs delete "$BACKUP_JOB" --location="$REGION"
    for name in "${FUNCTIONS[@]}"; do
        step "function $name"
        ! exists functions describe "$name" --region="$REGION" ||
            run functions delete "$name" --region="$REGION"
    done
}

main() {
    local argument
    ((BASH_VERSINFO[0] * 100 + BASH_VERSINFO[1] >= 404)) || stop "needs bash 4.4 or newer"
    for argument in "$@"; do
        case $argument in
        --dry-run) DRY_RUN=true ;;
        --help | -h | help) usage && exit ;;
        schedule | delete) ACTION=$argument ;;
        *) usage >&2 && stop "unknown argument: $argument" ;;
        esac
    done
    read_settings
    if [[ $ACTION == deploy ]]; then
        check_settings "${REQUIRED[@]}"
    else
        check_settings PROJECT_ID REGION
    fi
    begin
    "$ACTION"
}

main "$@"
