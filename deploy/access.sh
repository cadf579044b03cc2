# shellcheck shell=bash disable=SC2034
# Grants calling a function to the members of the three lists and PUBLIC_REPORTS, and to nobody
# else.

declare -A URL_OF READY_OF UNCHECKED_OF

# usage: find_functions
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

# usage: may_call FUNCTION
# Sets MEMBERS to the members that may call it by the settings, without allUsers.
may_call() {
    case $1 in
    backup-data) check_members BACKUP_CALLERS ;;
    truncate-tables) check_members TRUNCATION_CALLERS ;;
    *) check_members REPORT_READERS ;;
    esac
}

# usage: find_callers FUNCTION
# Sets CALLERS to `role member` for each member that may call it now.
find_callers() {
    ask run services get-iam-policy "$1" --region="$REGION" --flatten='bindings[].members[]' \
        --filter='bindings.role=(roles/run.invoker,roles/run.servicesInvoker)' \
        --format="value[separator=' '](bindings.role,bindings.members)"
    CALLERS=()
    [[ -z $ANSWER ]] || mapfile -t CALLERS <<<"$ANSWER"
}

# usage: is_meant FUNCTION MEMBER
# Whether the settings allow this member. Google may change an address to other capitals. The
# nightly call's account is not in the lists: `deploy.sh schedule` lets it in, `deploy.sh delete`
# removes it.
is_meant() {
    local each
    if [[ $2 == allUsers ]]; then
        [[ $1 != @(backup-data|truncate-tables) && $PUBLIC_REPORTS == yes ]]
        return
    fi
    may_call "$1"
    [[ $1 != backup-data ]] || MEMBERS+=("serviceAccount:$(account hiring-schedule)")
    for each in "${MEMBERS[@]}"; do
        [[ ${each,,} != "${2,,}" ]] || return 0
    done
    return 1
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
        for caller in "${CALLERS[@]}"; do
            read -r role member <<<"$caller"
            ! is_meant "$name" "$member" || continue
            run run services remove-iam-policy-binding "$name" --region="$REGION" --all \
                --member="$member" --role="$role"
            note "  $member may no longer call $name"
        done
    done
}

# Grants calling to the members in the settings; allUsers comes last, when all four functions exist.
open_functions() {
    local name member
    for name in "${FUNCTIONS[@]}"; do
        step "who may call $name"
        find_callers "$name"
        may_call "$name"
        for member in "${MEMBERS[@]}"; do
            let_in "$name" "$member"
        done
    done
    [[ $PUBLIC_REPORTS == yes ]] || return 0
    for name in "${REPORTS[@]}"; do
        step "everyone may call $name"
        find_callers "$name"
        let_in "$name" allUsers
    done
}

# usage: let_in FUNCTION MEMBER
let_in() {
    local caller
    for caller in "${CALLERS[@]}"; do
        [[ ${caller,,} != "roles/run.invoker ${2,,}" ]] || return 0
    done
    attempt "$BUSY|$NOT_YET" run services add-iam-policy-binding "$1" --region="$REGION" \
        --member="$2" --role=roles/run.invoker || {
        [[ $2 != allUsers ]] ||
            fail "Where the organisation's policy forbids allUsers, PUBLIC_REPORTS=no works."
        fail
    }
    "$DRY_RUN" || note "  $2 may call $1"
}
