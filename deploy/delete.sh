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
    for name in "$BACKUP_JOB" "$AGE_JOB"; do
        step "job $name"
        remove scheduler jobs delete "$name" --location="$REGION"
    done
    remove_alert
    take_rights_back
    for name in reports changes build schedule; do
        step "service account hiring-$name"
        remove iam service-accounts delete "$(account "hiring-$name")"
    done
    say_what_stays
}

confirm() {
    local answer=""
    ! "$ASSUME_YES" && ! "$DRY_RUN" || return 0
    [[ -t $INPUT ]] || stop "delete asks on a terminal; without one it needs --yes"
    IFS= read -ru "$INPUT" \
        -p "Remove the four functions of $PROJECT_ID, their accounts and rights? [y/N] " answer || true
    [[ $answer == [yY] || $answer == [yY][eE][sS] ]] || stop "nothing was removed"
}

# The rights are removed first: without its account, a right would stay in a policy as
# `deleted:...`.
take_rights_back() {
    local who project source
    source=$(source_bucket)
    project=${INSTANCE_CONNECTION_NAME%:*:*}
    for who in reports changes; do
        step "rights of hiring-$who"
        remove_right projects "$project" "hiring-$who" roles/cloudsql.client --project="$project"
        remove_right secrets "hiring-$who-password" "hiring-$who" roles/secretmanager.secretAccessor
        remove_right secrets "$AUTHORITY_SECRET" "hiring-$who" roles/secretmanager.secretAccessor
    done
    remove_right "storage buckets" "gs://$(bucket)" hiring-changes roles/storage.objectUser
    step "rights of hiring-build"
    remove_right "storage buckets" "gs://$source" hiring-build roles/storage.objectViewer
    remove_right "artifacts repositories" "$REPOSITORY" hiring-build \
        roles/artifactregistry.writer --location="$REGION"
    remove_right projects "$PROJECT_ID" hiring-build roles/logging.logWriter
}

# usage: remove_right GROUP THING ACCOUNT ROLE [FLAG...]
remove_right() {
    local group thing=$2 member role=$4
    read -ra group <<<"$1"
    member=serviceAccount:$(account "$3")
    shift 4
    remove "${group[@]}" remove-iam-policy-binding "$thing" --all \
        --member="$member" --role="$role" "$@"
}

say_what_stays() {
    step "what stays"
    note "  bucket gs://$(bucket): the backups"
    note "  secrets hiring-reports-password, hiring-changes-password and, with DB_HOST, $AUTHORITY_SECRET"
    note "  instance $INSTANCE_CONNECTION_NAME with database $DB_NAME and its users"
    note "  bucket gs://$(source_bucket) and repository $REPOSITORY: source and images of builds"
    note "  service account hiring-jobs, where the jobs made it, and the services that are enabled"
}
