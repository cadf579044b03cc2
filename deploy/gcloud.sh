# shellcheck shell=bash
# What deploy.sh and the jobs' submit scripts share: settings, steps, and calls of gcloud. Sourced
# from the project's folder.

# Every name that deploy.env may hold.
SETTINGS=(PROJECT_ID REGION INSTANCE_CONNECTION_NAME GCS_PATH DB_NAME DB_USER_REPORTS DB_USER_CHANGES
    RUNTIME PUBLIC_REPORTS INVOKERS VPC_CONNECTOR JOBS_DB_HOST JOBS_SUBNET)

ACTION=""
DRY_RUN=false
STEP=""

stop() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

# Names what is being done, for the reader and for the message if it fails.
step() {
    STEP=$1
    if "$DRY_RUN"; then printf '# %s\n' "$STEP"; else printf -- '- %s\n' "$STEP"; fi
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

# The one place where gcloud is called, or under --dry-run only printed (to the script's own output:
# callers send or read what gcloud says elsewhere). What follows a -- is not gcloud's but a job's.
call() {
    local argument owner=(--project="$PROJECT_ID") command=(gcloud)
    for argument in "$@"; do
        if [[ $argument == -- ]]; then command+=("${owner[@]}") owner=(); fi
        command+=("$argument")
    done
    command+=("${owner[@]}")
    if "$DRY_RUN"; then as_typed "${command[@]}" >&"$OUTPUT"; else "${command[@]}"; fi
}

# Carries a step out; the first that fails ends the script.
run() {
    call "$@" >/dev/null || stop "failed: $STEP. What is done so far stays; run it again to go on."
}

# Sets ANSWER to what a command prints.
# shellcheck disable=SC2034 # for the callers
ask() {
    ANSWER=$(call "$@") || stop "failed: $STEP"
}

# Whether `describe` finds something. Only a plain "not found" counts as no, or a service that was
# never enabled: a lapsed login must not read as an invitation to create.
exists() {
    local complaint
    if "$DRY_RUN"; then
        [[ $ACTION != delete ]] || { printf '# if it exists:\n' && return 0; }
        printf '# unless it exists:\n' && return 1
    fi
    if complaint=$(call "$@" 2>&1 >/dev/null); then return 0; fi
    if [[ $complaint =~ NOT_FOUND|[Nn]ot\ found|status=\[404\]|SERVICE_DISABLED ]]; then return 1; fi
    stop "failed: $STEP (looking whether it exists): $complaint"
}

# What the environment says wins over deploy.env, so that one setting can be changed for one run.
# The file is read, not sourced: it holds values, and a mistyped name is found.
read_settings() {
    local name value
    [[ -f deploy.env ]] || return 0
    while IFS='=' read -r name value || [[ -n $name ]]; do
        [[ -n $name && $name != \#* ]] || continue
        [[ " ${SETTINGS[*]} " == *" $name "* ]] ||
            stop "deploy.env: unknown setting: $name (deploy/deploy.env.example has them all)"
        [[ -v $name ]] || printf -v "$name" '%s' "$value"
    done <deploy.env
}

# Every missing setting is named at once, before anything is called.
require_settings() {
    local name missing=()
    for name in "$@"; do
        [[ -n ${!name:-} ]] || missing+=("$name")
    done
    ((${#missing[@]} == 0)) ||
        stop "missing in the environment and in deploy.env: ${missing[*]}" \
            "(deploy/deploy.env.example explains them)"
}

# A comma would end a value on gcloud's command line.
check_plain() {
    local name
    for name in "$@"; do
        [[ ${!name:-} != *[\"\',[:space:]]* ]] ||
            stop "$name holds a quote, a space or a comma: ${!name}"
    done
}

check_gcs_path() {
    [[ $GCS_PATH =~ ^(gs://)?[a-z0-9][a-z0-9._-]+[a-z0-9](/.*)?$ ]] ||
        stop "GCS_PATH is bucket, bucket/folder or gs://bucket/folder, not: $GCS_PATH"
}

# Prints the bucket of GCS_PATH.
bucket() {
    local path=${GCS_PATH#gs://}
    printf '%s' "${path%%/*}"
}

# gcloud gets no standard input of ours: it could swallow the passwords.
# shellcheck disable=SC2034 # INPUT is for the callers
begin() {
    "$DRY_RUN" || command -v gcloud >/dev/null ||
        stop "gcloud is not installed: https://cloud.google.com/sdk/docs/install"
    export CLOUDSDK_CORE_DISABLE_PROMPTS=1
    exec {INPUT}<&0 {OUTPUT}>&1 </dev/null
}

# An account's address; a project of a domain, example.com:name, turns its name round in it.
account() {
    local domain=""
    [[ $PROJECT_ID != *:* ]] || domain=.${PROJECT_ID%%:*}
    printf '%s@%s%s.iam.gserviceaccount.com' "$1" "${PROJECT_ID##*:}" "$domain"
}

ensure_account() {
    local name=$1 purpose=$2
    step "service account $name"
    exists iam service-accounts describe "$(account "$name")" ||
        run iam service-accounts create "$name" --display-name="$purpose"
}

# A backup creates, reads back and lists objects, and deletes those of a failed run. objectUser has
# all of that; objectAdmin could also say who else may read them.
grant_bucket() {
    step "rights of $2: the objects of gs://$1"
    run storage buckets add-iam-policy-binding "gs://$1" --condition=None \
        --member="serviceAccount:$(account "$2")" --role=roles/storage.objectUser
}
