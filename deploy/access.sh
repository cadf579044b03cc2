# shellcheck shell=bash disable=SC2034
# Grants calling a function to the members of the three lists and PUBLIC_REPORTS, and to nobody else.

declare -A URL_OF READY_OF UNCHECKED_OF
# The list of those who may call a function.
declare -A LIST_OF=([quarterly-hired]=REPORT_READERS [hiring-by-department]=REPORT_READERS
    [backup-data]=BACKUP_CALLERS [truncate-tables]=TRUNCATION_CALLERS)

# Sets URL_OF[NAME] for each existing function, and READY_OF[NAME] for each with a serving revision.
find_functions() {
    local name url ready unchecked
    local fields="metadata.name,status.url,status.latestReadyRevisionName"
    fields+=',metadata.annotations["run.googleapis.com/invoker-iam-disabled"]'
    step "functions that are there"
    URL_OF=() READY_OF=() UNCHECKED_OF=()
    exists run services list --region="$REGION" --format="csv[no-heading,separator='|']($fields)" ||
        return 0
    while IFS='|' read -r name url ready unchecked; do
        [[ " ${FUNCTIONS[*]} " == *" $name "* ]] || continue
        URL_OF[$name]=$url
        [[ -z $ready ]] || READY_OF[$name]=$ready
        UNCHECKED_OF[$name]=${unchecked:-false}
    done <<<"$ANSWER"
}

# Sets RIGHTS to `role member` for each member that may call it now.
find_callers() { # FUNCTION
    find_rights "run services" "$1" --region="$REGION" \
        --filter='bindings.role=(roles/run.invoker,roles/run.servicesInvoker)'
}

# Sets MEMBERS to those whom the settings let call a function.
find_members() { # FUNCTION
    check_members "${LIST_OF[$1]}"
    [[ $PUBLIC_REPORTS == no || " ${REPORTS[*]} " != *" $1 "* ]] || MEMBERS+=(allUsers)
}

# Revokes the rights that the settings do not give, before anything is built. Google may change an address
# to other capitals. The nightly call's account is not in the lists: `deploy.sh schedule` lets it in.
close_functions() {
    local name role member caller
    step "who may no longer call"
    for name in "${!URL_OF[@]}"; do
        [[ ${UNCHECKED_OF[$name]} != true ]] || {
            run run services update "$name" --region="$REGION" --invoker-iam-check
            note "  $name checks again who calls"
        }
        find_callers "$name"
        find_members "$name"
        [[ $name != backup-data ]] || MEMBERS+=("serviceAccount:$(account hiring-schedule)")
        for caller in "${RIGHTS[@]}"; do
            read -r role member <<<"$caller"
            [[ " ${MEMBERS[*],,} " != *" ${member,,} "* ]] || continue
            run run services remove-iam-policy-binding "$name" --region="$REGION" --all \
                --member="$member" --role="$role"
            note "  $member may no longer call $name"
        done
    done
}

warn_of_others() {
    step "who else may call every function, by a role on the project"
    find_rights projects "$PROJECT_ID" \
        --filter='bindings.role=(roles/owner,roles/editor,roles/run.admin)'
    ((${#RIGHTS[@]} == 0)) || note "$(printf '  %s\n' "${RIGHTS[@]}")"
}

# Grants calling to the members in the settings, when all four functions exist; to everyone last.
open_functions() {
    local name member
    for name in backup-data truncate-tables "${REPORTS[@]}"; do
        step "who may call $name"
        find_callers "$name"
        find_members "$name"
        for member in "${MEMBERS[@]}"; do
            [[ " ${RIGHTS[*],,} " != *" roles/run.invoker ${member,,} "* ]] || continue
            run run services add-iam-policy-binding "$name" --region="$REGION" --member="$member" \
                --role=roles/run.invoker
            "$DRY_RUN" || note "  $member may call $name"
        done
    done
}
