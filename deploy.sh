#!/usr/bin/env bash
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
for part in gcloud settings check network resources access functions schedule alert delete; do
    # shellcheck source=/dev/null
    source "deploy/$part.sh"
done

usage() {
    cat <<'END'
Usage: ./deploy.sh [--dry-run] [schedule | delete [--yes]]

Deploys the four functions, with the accounts, secrets and buckets that they need. Settings come from
the environment or from deploy.env (deploy/deploy.env.example has them all).
The passwords of the two database users are asked for once and kept in Secret Manager; where
standard input is not a terminal, its first line is the reports' and its second the changes'.
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
    # shellcheck disable=SC2034 # DRY_RUN is for deploy/gcloud.sh
    for argument in "$@"; do
        case $argument in
        --dry-run) DRY_RUN=true ;;
        --yes) ASSUME_YES=true ;;
        --help | -h | help) usage && exit ;;
        schedule | delete) ACTION=$argument ;;
        *) usage >&2 && stop "unknown argument: $argument" ;;
        esac
    done
    ! "$ASSUME_YES" || [[ $ACTION == delete ]] || stop "--yes is for delete"
}

# Missing and malformed settings are named before any command runs.
check_settings() {
    local name
    require_settings PROJECT_ID REGION INSTANCE_CONNECTION_NAME GCS_PATH DB_NAME DB_USER_REPORTS \
        DB_USER_CHANGES PUBLIC_REPORTS
    RUNTIME=${RUNTIME:-python313}
    check_forms
    check_network
    for name in REPORT_READERS BACKUP_CALLERS TRUNCATION_CALLERS; do
        check_members "$name"
    done
    [[ $PROJECT_ID != *:* ]] ||
        stop "PROJECT_ID: gcloud cannot deploy source to a project of a domain, $PROJECT_ID"
}

deploy() {
    check_login
    find_services_off "${SERVICES[@]}"
    # The instance can be looked up only if its service is enabled.
    [[ " ${OFF[*]} " == *" sqladmin "* ]] || check_instance
    find_functions
    close_functions
    if ((${#OFF[@]})); then
        enable_services "${OFF[@]}"
        check_instance "$BUSY|$NOT_YET|no instance found"
    fi
    # Accounts come first, because Google takes a while to know them everywhere.
    ensure_account hiring-reports "Reports of the hiring database"
    ensure_account hiring-changes "Backup and truncation of the hiring database"
    ensure_account hiring-build "Builds the hiring functions"
    ensure_build "$(source_bucket)"
    ensure_backup_bucket
    grant_bucket "$(bucket)" hiring-changes
    ensure_password reports "$DB_USER_REPORTS" 0
    ensure_password changes "$DB_USER_CHANGES" 1
    ensure_way_to_database
    stage_source
    deploy_report quarterly-hired quarterly_hired
    deploy_report hiring-by-department hiring_by_department
    deploy_change backup-data backup_data
    deploy_change truncate-tables truncar_tablas
    open_functions
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
