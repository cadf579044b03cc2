#!/usr/bin/env bash
# shellcheck disable=SC2034 # what one part sets, another reads
# Deploys the four functions to a project with a Cloud SQL instance; can be run again at any time.

# Older shells stop here, before syntax that they do not understand; macOS comes with 3.2.
case ${BASH_VERSION:-} in
"" | [0-3].* | 4.[0-3]*)
    echo "deploy.sh: needs bash 4.4 or newer, not ${BASH_VERSION:-another shell}" >&2
    exit 1
    ;;
esac

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
for part in gcloud settings check network resources access functions operate schedule alert delete; do
    # shellcheck source=/dev/null
    source "deploy/$part.sh"
done

usage() {
    cat <<'END'
Usage: ./deploy.sh [--dry-run] [operate | schedule | delete [--yes]]

Deploys the four functions, with the accounts, secrets and buckets that they need. Settings come from
the environment or from deploy.env (deploy/deploy.env.example has them all).
The passwords of the database users are asked for once and kept in Secret Manager; where standard
input is not a terminal, it has a line for each that is not stored yet: reports, backup, truncation.
  operate    make Cloud Run jobs of the operator's commands: hiring-operate runs any of them, hiring-drill
             and hiring-backup one each; asks for the passwords of operate and drill
  schedule   have Cloud Scheduler call the backup every night, check its age two hours later, and,
             with ALERT_CHANNEL set, Cloud Monitoring tell whoever that channel reaches
  delete     remove the functions, their accounts and rights, nothing that holds data; asks first
  --yes      do not ask
  --dry-run  print every command that would change something, call nothing
END
}

read_arguments() {
    local argument
    ACTION=deploy ASSUME_YES=false
    for argument in "$@"; do
        case $argument in
        --dry-run) DRY_RUN=true ;;
        --yes) ASSUME_YES=true ;;
        --help | -h | help) usage && exit ;;
        operate | schedule | delete) ACTION=$argument ;;
        *) usage >&2 && stop "unknown argument: $argument" ;;
        esac
    done
    ! "$ASSUME_YES" || [[ $ACTION == delete ]] || stop "--yes is for delete"
}

# Missing and malformed settings are named before any command runs.
check_settings() {
    local name
    [[ -z ${DB_USER_CHANGES:-} ]] ||
        stop "DB_USER_CHANGES is now DB_USER_BACKUP and DB_USER_TRUNCATION: see docs/deploy.md"
    require_settings PROJECT_ID REGION INSTANCE_CONNECTION_NAME GCS_PATH DB_NAME PUBLIC_REPORTS
    RUNTIME=${RUNTIME:-python313}
    check_forms
    check_network
    KEEP_BACKUPS="" # the settings of retention that are set
    for name in KEEP_BACKUPS_{DAYS,WEEKS,MONTHS}; do
        [[ -z ${!name:-} ]] || KEEP_BACKUPS+=,$name=${!name}
    done
    for name in "${LIST_OF[@]}"; do check_members "$name"; done
}

deploy() {
    local parts=(reports backup truncation) who
    check_login
    find_services_off
    # The instance can be looked up only if its service is enabled.
    if [[ " ${OFF[*]} " != *" sqladmin "* ]]; then
        check_instance
        check_users "${parts[@]}"
    fi
    find_functions
    close_functions
    if ((${#OFF[@]})); then
        enable_services "${OFF[@]}"
        check_instance "$BUSY|$NOT_YET|no instance found"
        check_users "${parts[@]}"
    fi
    warn_of_others
    # Accounts come first, because Google takes a while to know them everywhere.
    ensure_account hiring-reports "Reports of the hiring database"
    ensure_account hiring-backup "Backup of the hiring database"
    ensure_account hiring-truncation "Truncation of the hiring database"
    ensure_account hiring-build "Builds the hiring functions"
    NEW_BUILDER=$CREATED
    ensure_build "$(source_bucket)"
    ensure_backup_bucket
    grant_bucket backup "$KEEP_BACKUPS"
    grant_bucket truncation
    for who in "${parts[@]}"; do ensure_password "$who"; done
    ensure_way_to_database "${parts[@]}"
    stage_source
    deploy_functions
    open_functions
    retire_changes
    try_functions
}

main() {
    read_arguments "$@"
    read_settings
    check_settings
    begin
    check_tools
    "$ACTION"
}

main "$@"
