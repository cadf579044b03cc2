# shellcheck shell=bash disable=SC2034
# The four functions: what each is given, how a new revision takes over, and whether it answers.

REPORTS=(quarterly-hired hiring-by-department)
FUNCTIONS=("${REPORTS[@]}" backup-data truncate-tables)
declare -A APART # the process that deploys each
CANDIDATE=next   # the tag under which a new revision is tried before it gets traffic
ANSWER_SECONDS=90

# Connections stay within what the smallest Cloud SQL instance takes (250):
#   reports              2 functions x 5 instances x 8 threads, each thread keeping one   =  80
#   backup, truncation   2 functions x 2 instances x 1 request with one                   =   4
# and twice that for the moments in which a new revision takes over from the old one        168
# Cloud Run itself allows 100 to each instance. More than one request at a time needs a whole CPU.
# CLOUD_RUN_TIMEOUT_SECONDS is stated because no page promises it; a backup that has to stop itself
# before the platform does must know its limit.
REPORT_THREADS=8
REPORT_TIMEOUT=60
REPORT_LIMITS=(--memory=512Mi --cpu=1 --timeout="$REPORT_TIMEOUT"
    --concurrency="$REPORT_THREADS" --max-instances=5)
CHANGE_TIMEOUT=3600
CHANGE_LIMITS=(--memory=1Gi --cpu=2 --timeout="$CHANGE_TIMEOUT" --concurrency=1 --max-instances=2)

# Sets SOURCE to a folder with the files that .gcloudignore names, where the lock is requirements.txt:
# Google's build installs that file, and its hashes let no other package in.
stage_source() {
    local names
    SOURCE=$WORK/source
    step "source of the functions, with locked packages"
    mapfile -t names < <(sed -n 's|^!/\([^.]\)|\1|p' .gcloudignore)
    do_here mkdir -p "$SOURCE"
    do_here cp -R .gcloudignore "${names[@]}" "$SOURCE"
    do_here cp deploy/requirements.lock "$SOURCE/requirements.txt"
}

# One revision has code, settings, password, and socket or network. Where one serves already, the new
# one gets no traffic until it has answered. A function begins closed; open_functions lets people in.
deploy_function() { # NAME ENTRY_POINT WHO VARIABLES LIMIT...
    local name=$1 entry_point=$2 who=$3 own=$4 begins=(--no-allow-unauthenticated)
    shift 4
    describe_database "$who"
    [[ -z ${READY_OF[$name]:-} ]] || begins=(--no-traffic --tag="$CANDIDATE")
    step "function $name: build and deploy"
    build run deploy "$name" --region="$REGION" --source="$SOURCE" --function="$entry_point" \
        --base-image="$RUNTIME" \
        --image="$REGION-docker.pkg.dev/$PROJECT_ID/$REPOSITORY/$name" \
        --service-account="$(account "hiring-$who")" \
        --build-service-account="projects/$PROJECT_ID/serviceAccounts/$(account hiring-build)" \
        --set-env-vars="$own,$VARIABLES" --set-secrets="$SECRETS" \
        "${WAY[@]}" "${begins[@]}" "$@"
    [[ -z ${READY_OF[$name]:-} ]] || take_over "$name"
}

# Gives the traffic to the new revision when it has answered at its own address.
take_over() { # FUNCTION
    local name=$1 url=${URL_OF[$1]}
    step "function $name: the new revision answers"
    try_function "$name" "${url/:\/\//://$CANDIDATE---}" "$url"
    [[ $OUTCOME != failed* ]] ||
        fail "The new revision $OUTCOME. The one before goes on serving. Log: $(log_of "$name")"
    note "  $OUTCOME"
    step "function $name: the new revision serves"
    run run services update-traffic "$name" --region="$REGION" --to-latest --remove-tags="$CANDIDATE"
}

# Begins to deploy a function beside the script, in a folder of its own; together prints the output.
apart() { # FUNCTION ARGUMENT...
    local WORK=$WORK/$1 OUTPUT
    mkdir "$WORK"
    exec {OUTPUT}>"$WORK/said"
    deploy_function "$@" 2>"$WORK/failed" &
    APART[$1]=$!
    exec {OUTPUT}>&-
}

# Waits for commands and prints what each said, one after the other. Ends the run if one failed.
together() { # NAME...
    local name status=0
    for name in "$@"; do
        wait "${APART[$name]}" || status=$?
        cat "$WORK/$name/said" >&"$OUTPUT"
        cat "$WORK/$name/failed" >&2
    done
    ((status == 0)) || exit "$status"
}

# Each function is a build of its own, of minutes. (One image would do for all by the buildpacks' source,
# where FUNCTION_TARGET is a default; but Google's documentation reserves that name.)
deploy_functions() {
    local report=THREADS=$REPORT_THREADS,CLOUD_RUN_TIMEOUT_SECONDS=$REPORT_TIMEOUT
    local change=CLOUD_RUN_TIMEOUT_SECONDS=$CHANGE_TIMEOUT,GCS_PATH=$GCS_PATH
    apart quarterly-hired quarterly_hired reports "$report" "${REPORT_LIMITS[@]}"
    apart hiring-by-department hiring_by_department reports "$report" "${REPORT_LIMITS[@]}"
    apart backup-data backup_data backup "$change$KEEP_BACKUPS" "${CHANGE_LIMITS[@]}"
    apart truncate-tables truncar_tablas truncation "$change" "${CHANGE_LIMITS[@]}"
    note "- four builds side by side (this takes minutes)"
    together "${FUNCTIONS[@]}"
}

# What each function can be asked that changes nothing.
declare -A HARMLESS=([quarterly-hired]=format=json [hiring-by-department]=format=json
    [backup-data]=dry_run=true [truncate-tables]=dry_run=true)

log_of() {
    printf '%s' "https://console.cloud.google.com/run/detail/$REGION/$1/logs?project=$PROJECT_ID"
}

# Sets OUTCOME to what became of one call that changes nothing: `answered`, `not tried: ...` or
# `failed: ...`; and OPEN to whether it needed no token. The rights may be a minute on their way, as
# may the network of a new instance.
try_function() { # FUNCTION ADDRESS AUDIENCE
    local name=$1 address=$2 identity header="" seconds status
    OPEN=true
    find_callers "$name"
    if [[ " ${RIGHTS[*]} " != *" allUsers "* ]]; then
        OPEN=false
        # A service account has a token for each audience, a person one for all.
        identity=$(call auth print-identity-token --audiences="$3" 2>/dev/null) ||
            identity=$(call auth print-identity-token 2>/dev/null) ||
            { OUTCOME="not tried: gcloud has no identity token to give" && return; }
        header="header = \"Authorization: Bearer $identity\""
    fi
    for seconds in "${WAITS[@]}" none; do
        # The token stays out of the list of processes.
        status=$(curl --silent --show-error --config - --max-time "$ANSWER_SECONDS" \
            --output "$WORK/answer" --write-out '%{http_code}' \
            "$address/?${HARMLESS[$name]}" <<<"$header" 2>"$WORK/errors") || status=000
        [[ $seconds != none && ($status == 404 || ($OPEN == true && $status == 403) ||
            ($status == 503 && -n $DB_HOST)) ]] || break
        sleep "$seconds"
    done
    case $status in
    200) OUTCOME=answered ;;
    409) OUTCOME="answered: busy" ;;
    401 | 403) OUTCOME="not tried: whoever deploys may not call it" ;;
    000) OUTCOME="failed: $(<"$WORK/errors")" ;;
    *) OUTCOME="failed with $status: $(head -c 500 "$WORK/answer")" ;;
    esac
}

# Calls all four, and says how to. A function that answers wrongly makes the run fail.
try_functions() {
    local name url identity answered=0 failed=()
    find_functions
    ! "$DRY_RUN" || return 0
    for name in "${FUNCTIONS[@]}"; do
        step "call $name"
        url=${URL_OF[$name]:-}
        [[ -n $url ]] || fail "Cloud Run has no address for it. Log: $(log_of "$name")"
        try_function "$name" "$url" "$url"
        identity=" -H \"Authorization: Bearer \$(gcloud auth print-identity-token)\""
        ! "$OPEN" || identity=""
        note "  $OUTCOME"
        note "  curl$identity '$url?${HARMLESS[$name]}'"
        case $OUTCOME in
        answered*) ((answered += 1)) ;;
        failed*) failed+=("$name, log $(log_of "$name")") ;;
        esac
    done
    note "$answered of ${#FUNCTIONS[@]} answered"
    ((${#failed[@]} == 0)) || stop "did not answer as they should: ${failed[*]}"
}
