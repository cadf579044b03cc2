# shellcheck shell=bash disable=SC2034,SC2119,SC2120
# Calls gcloud in named steps: printed only under --dry-run, repeated while Google is not ready.

DRY_RUN=false
STEP=""
SENT=""     # standard input of the next gcloud command; the script's own input never reaches it
WORK=""     # a folder for this run's files, removed at its end
CALLER=call # what attempt calls; a caller names another for what gcloud does not have

# SAYS[meaning]: the patterns of Google's refusals; ADVICE[pattern]: what to do about one.
declare -A SAYS ADVICE
while IFS=$'\t' read -r meanings _ _ pattern _ advice; do
    [[ $meanings != \#* ]] || continue
    for meaning in ${meanings//,/ }; do SAYS[$meaning]+="${SAYS[$meaning]:+|}$pattern"; done
    [[ -z $advice ]] || ADVICE[$pattern]=$advice
done <deploy/refusals.tsv
BUSY="${SAYS[busy]}|${SAYS[conflict]}"
NOT_YET=${SAYS[soon]}
WAITS=(5 10 15 20 30 40) # seconds, two minutes in all

stop() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

# Ends the run because the current step failed.
fail() {
    local pattern advice=${1:-What is done so far stays; run it again to go on.}
    [[ -z $COMPLAINT ]] || printf '%s\n' "$COMPLAINT" >&2
    for pattern in "${!ADVICE[@]}"; do
        [[ ! $COMPLAINT =~ $pattern ]] || advice=${ADVICE[$pattern]}
    done
    stop "failed: $STEP. $advice"
}

# Begins a step: prints its name, which is also for the message if it fails.
step() {
    STEP=$1 COMPLAINT=""
    if "$DRY_RUN"; then note "# $STEP"; else note "- $STEP"; fi
}

note() {
    printf '%s\n' "$*" >&"$OUTPUT"
}

# Prints a command as one would type it, with quotes only where the shell needs them.
as_typed() {
    local argument typed=()
    for argument in "$@"; do
        [[ $argument =~ ^[A-Za-z0-9_./:=@,+-]+$ ]] || argument=${argument@Q}
        typed+=("$argument")
    done
    printf '%s\n' "${typed[*]}"
}

# Prepares the run before the first call; the script keeps its standard input as INPUT.
begin() {
    exec {INPUT}<&0 {OUTPUT}>&1 </dev/null
    export CLOUDSDK_CORE_DISABLE_PROMPTS=1
    WORK=$(mktemp -d)
    # shellcheck disable=SC2046 # a word for each process
    trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$WORK"' EXIT
}

# Calls gcloud, or only prints the call under --dry-run. Arguments after a -- are a job's.
call() {
    local argument owner=(--project="$PROJECT_ID") command=(gcloud)
    [[ " $*" != *" --project="* ]] || owner=()
    for argument in "$@"; do
        if [[ $argument == -- ]]; then command+=("${owner[@]}") owner=(); fi
        command+=("$argument")
    done
    command+=("${owner[@]}")
    if "$DRY_RUN"; then note "$(as_typed "${command[@]}")"; else "${command[@]}"; fi
}

do_here() {
    if "$DRY_RUN"; then note "$(as_typed "$@")"; else "$@" || stop "failed: $STEP"; fi
}

# Calls gcloud, or CALLER, and repeats the call after growing waits while its error matches the
# pattern. Sets ANSWER to its output and COMPLAINT to its errors.
attempt() { # PATTERN ARGUMENT...
    local pattern=$1 seconds why
    shift
    for seconds in "${WAITS[@]}" none; do
        if ANSWER=$("$CALLER" "$@" 2>"$WORK/errors" < <(printf '%s' "$SENT")); then
            COMPLAINT=""
            return 0
        fi
        COMPLAINT=$(<"$WORK/errors")
        [[ $seconds != none && $COMPLAINT =~ $pattern ]] || return 1
        why=${COMPLAINT#*ERROR: } # gcloud tells its steps before
        note "  not yet: ${why%%$'\n'*}; once more in $seconds s"
        sleep "$seconds"
    done
}

# Runs a command that changes something; a failure ends the script.
run() {
    attempt "$BUSY|$NOT_YET" "$@" || fail
}

# Runs a command that builds. The first build of a new account is repeated once: Google may not know its
# rights yet, and a build that fails does not say so.
build() {
    attempt "$BUSY|$NOT_YET" "$@" && return
    [[ ${NEW_BUILDER:-} == true && $COMPLAINT =~ ${SAYS[build]} ]] || fail
    note "  the build failed, perhaps because its account is new; once more in ${WAITS[-1]} s"
    sleep "${WAITS[-1]}"
    run "$@"
}

# Creates something; succeeds if it exists already. Sets CREATED.
create() {
    CREATED=true
    ! "$DRY_RUN" || note "# unless it exists:"
    attempt "${SAYS[busy]}|$NOT_YET" "$@" || CREATED=false
    "$CREATED" || [[ $COMPLAINT =~ ${SAYS[present]} ]] || fail
}

# Removes something; succeeds if it does not exist.
remove() {
    ! "$DRY_RUN" || note "# if it exists:"
    attempt "$BUSY" "$@" || [[ $COMPLAINT =~ ${SAYS[absent]} ]] || fail
}

# Sets ANSWER to gcloud's description of something that must exist.
ask() {
    ANSWER=""
    "$DRY_RUN" || attempt "$BUSY|$NOT_YET" "$@" || fail
}

# What ./deploy.sh makes is there; else this says so at once.
require_deployed() { # THING ARGUMENT...
    step "$1"
    shift
    "$DRY_RUN" || exists "$@" || stop "failed: $STEP is missing; run ./deploy.sh first"
}

# Whether something exists; sets ANSWER to gcloud's description. Only "not found" and a service that
# was never enabled mean no: after an expired login nothing must be created.
exists() {
    ANSWER=""
    ! "$DRY_RUN" || return 1
    if attempt "$BUSY" "$@"; then return 0; fi
    [[ $COMPLAINT =~ ${SAYS[absent]} ]] || fail
    COMPLAINT=""
    return 1
}

# Gives the account hiring-WHO a role on one thing; GROUP is gcloud's, such as "storage buckets".
grant() { # GROUP THING WHO ROLE [FLAG...]
    local group thing=$2 who=$3 role=$4
    read -ra group <<<"$1"
    shift 4
    step "rights of hiring-$who: $role on $thing"
    [[ ${group[0]} == run ]] || set -- "$@" --condition=None
    run "${group[@]}" add-iam-policy-binding "$thing" "$@" \
        --member="serviceAccount:$(account "hiring-$who")" --role="roles/$role"
}

# Sets RIGHTS to `role member` for each right on one thing; to nothing where there is no such thing.
find_rights() { # GROUP THING [FLAG...]
    local group thing=$2
    read -ra group <<<"$1"
    shift 2
    RIGHTS=()
    exists "${group[@]}" get-iam-policy "$thing" "$@" --flatten='bindings[].members[]' \
        --format="value[separator=' '](bindings.role,bindings.members)" || return 0
    [[ -z $ANSWER ]] || mapfile -t RIGHTS <<<"$ANSWER"
}
