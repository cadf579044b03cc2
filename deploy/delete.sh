# shellcheck shell=bash disable=SC2034
# Removes the functions, their accounts and rights, but nothing that holds data.

# The functions that change data are removed first, and a job before its account.
delete() {
    local name
    confirm
    for name in truncate-tables backup-data "${REPORTS[@]}"; do
        step "function $name"
        remove run services delete "$name" --region="$REGION"
    done
    for name in "$BACKUP_JOB" "$AGE_JOB" "$DRILL_JOB" "$DRILL_AGE_JOB"; do
        step "call $name"
        remove scheduler jobs delete "$name" --location="$REGION"
    done
    for name in "${JOBS[@]}"; do
        step "job $name"
        remove run jobs delete "$name" --region="$REGION"
    done
    replace_alerts
    retire reports backup truncation changes jobs operate drill build schedule
    step "what stays"
    note "  bucket gs://$(bucket): the backups"
    note "  secrets hiring-...-password and, with DB_HOST, $AUTHORITY_SECRET"
    note "  instance $INSTANCE_CONNECTION_NAME with database $DB_NAME and its users"
    note "  bucket gs://$(source_bucket) and repository $REPOSITORY: source and images of builds"
    note "  the services that are enabled"
}

confirm() {
    local answer=""
    ! "$ASSUME_YES" && ! "$DRY_RUN" || return 0
    [[ -t $INPUT ]] || stop "delete asks on a terminal; without one it needs --yes"
    IFS= read -ru "$INPUT" \
        -p "Remove the four functions of $PROJECT_ID, their accounts and rights? [y/N] " answer || true
    [[ $answer == [yY] || $answer == [yY][eE][sS] ]] || stop "nothing was removed"
}

# Takes every right on the project's things from the accounts, then removes them. Without its account, a
# right would stay in a policy as `deleted:...`.
retire() { # WHO...
    local who secret project=${INSTANCE_CONNECTION_NAME%:*:*}
    RETIRED=("$@")
    step "rights of the accounts hiring-{$(IFS=,; printf '%s' "$*")}"
    take_rights projects "$PROJECT_ID"
    [[ $project == "$PROJECT_ID" ]] || take_rights projects "$project" --project="$project"
    take_rights "storage buckets" "gs://$(bucket)"
    take_rights "storage buckets" "gs://$(source_bucket)"
    take_rights "artifacts repositories" "$REPOSITORY" --location="$REGION"
    for secret in hiring-{reports,backup,truncation,changes,jobs,operate,drill}-password "$AUTHORITY_SECRET"; do
        take_rights secrets "$secret"
    done
    for who in "$@"; do
        step "service account hiring-$who"
        remove iam service-accounts delete "$(account "hiring-$who")"
    done
}

take_rights() { # GROUP THING [FLAG...]
    local group right role member who
    read -ra group <<<"$1"
    find_rights "$@"
    ! "$DRY_RUN" || RIGHTS=("ROLE serviceAccount:$(account "hiring-${RETIRED[0]}")")
    shift
    for right in "${RIGHTS[@]}"; do
        read -r role member <<<"$right"
        for who in "${RETIRED[@]}"; do
            [[ $member != "serviceAccount:$(account "hiring-$who")" ]] ||
                remove "${group[@]}" remove-iam-policy-binding "$@" --all --member="$member" --role="$role"
        done
    done
}

# Backup and truncation of version 1 shared an account; it goes when the new revisions serve.
retire_changes() {
    step "account hiring-changes of version 1"
    exists iam service-accounts describe "$(account hiring-changes)" || return 0
    retire changes
    # The Spark job had logged in as the reports' user.
    RETIRED=(jobs)
    take_rights secrets hiring-reports-password
    note "  nothing uses its database user and its secret any more; remove them:"
    note "  DROP USER hiring_changes@'%';"
    note "  $(as_typed gcloud secrets delete hiring-changes-password --project="$PROJECT_ID")"
}
