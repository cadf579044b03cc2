# shellcheck shell=bash disable=SC2034,SC2119,SC2120
# Calls gcloud in named steps: printed only under --dry-run, repeated while Google is not ready.
# Sourced from the project's folder.

DRY_RUN=false
STEP=""
# Standard input of the next gcloud command; the script's own input never reaches it.
SENT=""
# A folder for this run's files, removed at its end.
WORK=""
# What attempt calls; a caller names another for what gcloud does not have.
CALLER=call

# Errors that Google gives for a minute or two after something was created, enabled or allowed.
NOT_YET='SERVICE_DISABLED|has not been used in project|[Dd]oes not exist|NOT_FOUND|not found'
NOT_YET+='|Permission denied on secret|does not have storage\.|actAs.* denied'
BUSY='RESOURCE_EXHAUSTED|UNAVAILABLE|ABORTED|HTTPError (409|429|503)|concurrent policy changes'
BUSY+='|Quota exceeded|[Ss]tatus.{1,8}(429|503)|\) (429|503) '
WAITS=(5 10 15 20 30 40) # seconds, two minutes in all

ABSENT='NOT_FOUND|[Nn]ot found|[Cc]annot find|status=\[404\]|SERVICE_DISABLED|has not been used in project'
PRESENT='ALREADY_EXISTS|already exists|already own it|HTTPError 409'

stop() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

# Ends the run because the current step failed.
fail() {
    [[ -z $COMPLAINT ]] || printf '%s\n' "$COMPLAINT" >&2
    stop "failed: $STEP. ${1:-What is done so far stays; run it again to go on.}"
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
# shellcheck disable=SC2034 # INPUT is for the callers
begin() {
    exec {INPUT}<&0 {OUTPUT}>&1 </dev/null
    export CLOUDSDK_CORE_DISABLE_PROMPTS=1
    WORK=$(mktemp -d)
    trap 'rm -rf "$WORK"' EXIT
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

# Runs a local command, or only prints it under --dry-run.
do_here() {
    if "$DRY_RUN"; then note "$(as_typed "$@")"; else "$@" || stop "failed: $STEP"; fi
}

# usage: attempt PATTERN ARGUMENT...
# Calls gcloud, or CALLER, and repeats the call after growing waits while its error matches the
# pattern. Sets ANSWER to its output and COMPLAINT to its errors.
attempt() {
    local pattern=$1 seconds
    shift
    for seconds in "${WAITS[@]}" none; do
        if ANSWER=$("$CALLER" "$@" 2>"$WORK/errors" < <(printf '%s' "$SENT")); then
            COMPLAINT=""
            return 0
        fi
        COMPLAINT=$(<"$WORK/errors")
        [[ $seconds != none && $COMPLAINT =~ $pattern ]] || return 1
        note "  not yet: $(reason); once more in $seconds s"
        sleep "$seconds"
    done
}

# Prints what Google or gcloud complains of, in short.
reason() {
    local line=${COMPLAINT#*ERROR: (*) }
    [[ ! $COMPLAINT =~ \"message\":\ *\"([^\"]+)\" ]] || line=${BASH_REMATCH[1]}
    printf '%.150s' "${line%%$'\n'*}"
}

# Runs a command that changes something; a failure ends the script.
run() {
    attempt "$BUSY|$NOT_YET" "$@" || fail
}

# Creates something; succeeds if it exists already.
create() {
    ! "$DRY_RUN" || note "# unless it exists:"
    attempt "${BUSY/409|/}|$NOT_YET" "$@" || [[ $COMPLAINT =~ $PRESENT ]] || fail
}

# Removes something; succeeds if it does not exist.
remove() {
    ! "$DRY_RUN" || note "# if it exists:"
    attempt "$BUSY" "$@" || [[ $COMPLAINT =~ $ABSENT ]] || fail
}

# Sets ANSWER to gcloud's description of something that must exist.
ask() {
    ANSWER=""
    "$DRY_RUN" || attempt "$BUSY|$NOT_YET" "$@" || fail
}

# usage: require_deployed THING ARGUMENT...
# What ./deploy.sh makes is there; else this says so at once.
require_deployed() {
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
    [[ $COMPLAINT =~ $ABSENT ]] || fail
    COMPLAINT=""
    return 1
}
