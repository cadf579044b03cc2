# shellcheck shell=bash disable=SC2034
# Grants calling a function to the members of the three lists and PUBLIC_REPORTS, and to nobody
# else.

declare -A URL_OF READY_OF UNCHECKED_OF
# The list of those who may call a function.
declare -A LIST_OF=([quarterly-hired]=REPORT_READERS [hiring-by-department]=REPORT_READERS
    [backup-data]=BACKUP_CALLERS [truncate-tables]=TRUNCATION_CALLERS)

# Sets URL_OF[NAME] for each existing function, and READY_OF[NAME] for each with a serving revision.
find_functions() {
    local name url ready manager unchecked
    local annotation='metadata.annotations["run.googleapis.com/invoker-iam-disabled"]'
    local fields="metadata.name,status.url,status.latestReadyRevisionName"
    fields+=",metadata.labels.goog-managed-by,$annotation"
    step "functions that are there"
    URL_OF=() READY_OF=() UNCHECKED_OF=()
    exists run services list --region="$REGION" --format="csv[no-heading,separator='|']($fields)" ||
        return 0
    while IFS='|' read -r name url ready manager unchecked; do
        [[ " ${FUNCTIONS[*]} " == *" $name "* ]] || continue
        URL_OF[$name]=$url
        [[ -z $ready ]] || READY_OF[$name]=$ready
        UNCHECKED_OF[$name]=${unchecked:-false}
        [[ $manager != cloudfunctions ]] ||
            stop "$name was deployed with gcloud functions; hand it over to Cloud Run first:" \
                "$(as_typed gcloud functions detach "$name" --region="$REGION" --project="$PROJECT_ID")"
    done <<<"$ANSWER"
}

# Sets RIGHTS to `role member` for each member that may call it now.
find_callers() { # FUNCTION
    find_rights "run services" "$1" --region="$REGION" \
        --filter='bindings.role=(roles/run.invoker,roles/run.servicesInvoker)'
}

# Whether the settings allow this member. Google may change an address to other capitals. The
# nightly call's account is not in the lists: `deploy.sh schedule` lets it in, `deploy.sh delete`
# removes it.
is_meant() { # FUNCTION MEMBER
    if [[ $2 == allUsers ]]; then
        [[ $1 != @(backup-data|truncate-tables) && $PUBLIC_REPORTS == yes ]]
        return
    fi
    check_members "${LIST_OF[$1]}"
    [[ $1 != backup-data ]] || MEMBERS+=("serviceAccount:$(account hiring-schedule)")
    [[ " ${MEMBERS[*],,} " == *" ${2,,} "* ]]
}

# Revokes the rights that the settings do not give, before anything is built.
close_functions() {
    local name role member caller
    step "who may no longer call"
    for name in "${!URL_OF[@]}"; do
        [[ ${UNCHECKED_OF[$name]} != true ]] || {
            run run services update "$name" --region="$REGION" --invoker-iam-check
            note "  $name checks again who calls"
        }
        find_callers "$name"
        for caller in "${RIGHTS[@]}"; do
            read -r role member <<<"$caller"
            ! is_meant "$name" "$member" || continue
            run run services remove-iam-policy-binding "$name" --region="$REGION" --all \
                --member="$member" --role="$role"
            note "  $member may no longer call $name"
        done
    done
}

# Names whom Google lets call every function besides, by a role on the project.
warn_of_others() {
    step "who else may call every function, by a role on the project"
    find_rights projects "$PROJECT_ID" \
        --filter='bindings.role=(roles/owner,roles/editor,roles/run.admin)'
    ((${#RIGHTS[@]} == 0)) || note "$(printf '  %s\n' "${RIGHTS[@]}")"
}

# Grants calling to the members in the settings; allUsers comes last, when all four functions exist.
open_functions() {
    local name member
    for name in "${FUNCTIONS[@]}"; do
        step "who may call $name"
        find_callers "$name"
        check_members "${LIST_OF[$name]}"
        for member in "${MEMBERS[@]}"; do let_in "$name" "$member"; done
    done
    [[ $PUBLIC_REPORTS == yes ]] || return 0
    for name in "${REPORTS[@]}"; do
        step "everyone may call $name"
        find_callers "$name"
        let_in "$name" allUsers
    done
}

let_in() { # FUNCTION MEMBER
    [[ " ${RIGHTS[*],,} " != *" roles/run.invoker ${2,,} "* ]] || return 0
    run run services add-iam-policy-binding "$1" --region="$REGION" --member="$2" \
        --role=roles/run.invoker
    "$DRY_RUN" || note "  $2 may call $1"
}
