# shellcheck shell=bash disable=SC2034,SC2119,SC2120
# How gcloud is called: in named steps, only printed under --dry-run, repeated while Google is not ready.
# Sourced from the project's folder.

DRY_RUN=false
STEP=""
# What gcloud reads on its standard input; never what the script itself was given.
SENT=""
# A folder for this run's files, removed at its end.
WORK=""
# What attempt calls; a caller names another for what gcloud does not have.
CALLER=call

# Google answers like this for a minute or two after something was made, enabled or allowed.
NOT_YET='SERVICE_DISABLED|has not been used in project|[Dd]oes not exist|NOT_FOUND|not found'
NOT_YET+='|Permission denied on secret|does not have storage\.|actAs.* denied'
BUSY='RESOURCE_EXHAUSTED|UNAVAILABLE|ABORTED|HTTPError (409|429|503)|concurrent policy changes'
BUSY+='|Quota exceeded|status.: .(429|503)'
WAITS=(5 10 15 20 30 40) # seconds, two minutes in all

ABSENT='NOT_FOUND|[Nn]ot found|[Cc]annot find|status=\[404\]|SERVICE_DISABLED|has not been used in project'
PRESENT='ALREADY_EXISTS|already exists|already own it|HTTPError 409'

stop() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

# The end of a run whose step did not succeed.
fail() {
    [[ -z $COMPLAINT ]] || printf '%s\n' "$COMPLAINT" >&2
    stop "failed: $STEP. ${1:-What is done so far stays; run it again to go on.}"
}

# Names what is being done, for the reader and for the message if it fails.
step() {
    STEP=$1 COMPLAINT=""
    if "$DRY_RUN"; then note "# $STEP"; else note "- $STEP"; fi
}

note() {
    printf '%s\n' "$*" >&"$OUTPUT"
}

# A command as one would type it: quoted only where the shell asks for it.
as_typed() {
    local argument typed=()
    for argument in "$@"; do
        [[ $argument =~ ^[A-Za-z0-9_./:=@,+-]+$ ]] || argument=${argument@Q}
        typed+=("$argument")
    done
    printf '%s\n' "${typed[*]}"
}

# Everything before the first call. Standard input stays with the script, as INPUT.
# shellcheck disable=SC2034 # INPUT is for the callers
begin() {
    exec {INPUT}<&0 {OUTPUT}>&1 </dev/null
    export CLOUDSDK_CORE_DISABLE_PROMPTS=1
    WORK=$(mktemp -d)
    trap 'rm -rf "$WORK"' EXIT
}

# The one place where gcloud is called, or under --dry-run only printed. What follows a -- is not
# gcloud's but a job's.
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

# A command of this machine, or under --dry-run its text.
do_here() {
    if "$DRY_RUN"; then note "$(as_typed "$@")"; else "$@" || stop "failed: $STEP"; fi
}

# usage: attempt PATTERN ARGUMENT...
# Calls gcloud, or CALLER, and again after growing waits while it complains like the pattern. Sets ANSWER to its
# output and COMPLAINT to its errors.
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
        note "  Google is not ready for this yet; once more in $seconds s"
        sleep "$seconds"
    done
}

# Carries out what changes something; the first that fails ends the script.
run() {
    attempt "$BUSY|$NOT_YET" "$@" || fail
}

# Makes something; that it is there already is as good.
create() {
    ! "$DRY_RUN" || note "# unless it exists:"
    attempt "${BUSY/409|/}|$NOT_YET" "$@" || [[ $COMPLAINT =~ $PRESENT ]] || fail
}

# Removes something; that it is not there is as good.
remove() {
    ! "$DRY_RUN" || note "# if it exists:"
    attempt "$BUSY" "$@" || [[ $COMPLAINT =~ $ABSENT ]] || fail
}

# Sets ANSWER to what gcloud says of something that must be there.
ask() {
    ANSWER=""
    "$DRY_RUN" || attempt "$BUSY|$NOT_YET" "$@" || fail
}

# Whether something is there; sets ANSWER to what gcloud says of it. Only a plain "not found" counts
# as no, or a service that was never enabled: a lapsed login is no invitation to create.
exists() {
    ANSWER=""
    ! "$DRY_RUN" || return 1
    if attempt "$BUSY" "$@"; then return 0; fi
    [[ $COMPLAINT =~ $ABSENT ]] || fail
    COMPLAINT=""
    return 1
}
