# shellcheck shell=bash disable=SC2034
# Reads the settings of deploy.sh and of jobs/submit.sh, and checks them.

EXAMPLE=deploy/deploy.env.example
# Every name that deploy.env may hold.
mapfile -t SETTINGS < <(sed -n 's/^\([A-Z_]*\)=.*/\1/p' "$EXAMPLE")

# The environment overrides deploy.env, so that a setting can be changed for one run. The file is
# read, not run: nothing in it is a command, and a mistyped name is refused.
read_settings() {
    local line name value seen=" "
    [[ -f deploy.env ]] || return 0
    while IFS= read -r line || [[ -n $line ]]; do
        [[ -n $line && $line != \#* ]] || continue
        name=${line%%=*} value=${line#*=}
        [[ $line == *=* && " ${SETTINGS[*]} " == *" $name "* && $name != *" "* ]] ||
            stop "deploy.env: unknown setting: ${name@Q} ($EXAMPLE has them all)"
        [[ $seen != *" $name "* ]] || stop "deploy.env sets $name twice"
        seen+="$name "
        [[ -v $name ]] || printf -v "$name" '%s' "$value"
    done <deploy.env
}

require_settings() {
    local name missing=()
    for name in "$@"; do
        [[ -n ${!name:-} ]] || missing+=("$name")
    done
    ((${#missing[@]} == 0)) ||
        stop "missing in the environment and in deploy.env: ${missing[*]} ($EXAMPLE explains them)"
}

check_form() { # NAME PATTERN EXAMPLE
    local name=$1 pattern=$2 example=$3
    [[ -z ${!name:-} || ${!name} =~ ^($pattern)$ ]] ||
        stop "$name is malformed: ${!name@Q}; for example $name=$example"
}

# The forms exclude what would end a value on gcloud's command line: commas, quotes, blanks,
# newlines.
check_forms() {
    local name word='[A-Za-z0-9_.@$-]+'
    check_form PROJECT_ID '[a-z][a-z0-9-]+' my-project
    check_form REGION '[a-z]+-[a-z]+[0-9]+' europe-west1
    check_form INSTANCE_CONNECTION_NAME '([a-z0-9.-]+:)?[a-z0-9-]+:[a-z0-9-]+:[a-z0-9-]+' \
        my-project:europe-west1:my-instance
    check_form GCS_PATH '(gs://)?[a-z0-9][a-z0-9._-]+[a-z0-9](/[^,"'\''[:space:][:cntrl:]]*)?' \
        gs://my-bucket/hiring
    check_form DB_NAME "$word" hiring
    for name in "${!DB_USER_@}"; do
        check_form "$name" "$word" hiring_reports
    done
    check_form KEEP_BACKUPS_DAYS '[1-9][0-9]{0,4}' 30
    check_form KEEP_BACKUPS_WEEKS '[1-9][0-9]{0,3}' 8
    check_form KEEP_BACKUPS_MONTHS '[1-9][0-9]{0,3}' 12
    check_form PUBLIC_REPORTS 'yes|no' no
    check_form OPERATE_MAY_DELETE 'yes|no' no
    check_form BACKUP_HOUR '[0-9]|1[0-9]|2[0-3]' 3
    check_form BACKUP_LOCATION '[A-Za-z0-9-]+' EUR4
    check_form BACKUP_RETENTION '[1-9][0-9]*[dmy]' 30d
    check_form BACKUP_KEY 'projects/[^,"'\''[:space:][:cntrl:]]+/cryptoKeys/[A-Za-z0-9_-]+' \
        projects/my-project/locations/europe-west1/keyRings/hiring/cryptoKeys/backups
    check_form ALERT_CHANNEL 'projects/[a-z0-9-]+/notificationChannels/[0-9]+' \
        projects/my-project/notificationChannels/1234567890
    check_form RUNTIME 'python3(1[1-9]|[2-9][0-9])' python313
    check_form DB_HOST '([A-Za-z0-9-]+\.)*[A-Za-z0-9-]+' 10.1.2.3
    check_form NETWORK '[a-z0-9/._-]+' default
    check_form SUBNET '[a-z0-9/._-]+' default
    check_form JOBS_DB_HOST '[A-Za-z0-9.:-]+' 10.1.2.3
    check_form JOBS_SUBNET '[a-z0-9/._-]+' default
}

# Sets MEMBERS to the people and accounts in a list, and refuses members that stand for everybody.
check_members() { # NAME
    local name=$1 list member kept=()
    list=${!name:-}
    [[ $list != *[[:cntrl:]]* ]] || stop "$name is more than one line"
    IFS=, read -ra MEMBERS <<<"$list"
    for member in "${MEMBERS[@]}"; do
        read -r member <<<"$member"
        [[ -n $member ]] || continue
        [[ $member =~ ^(user|group|serviceAccount):[^[:space:]:,@\"\']+@[A-Za-z0-9.-]+$ ||
            $member =~ ^domain:[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+$ ]] ||
            stop "$name takes user:, group:, serviceAccount: and domain:, not: ${member@Q}"
        kept+=("$member")
    done
    MEMBERS=("${kept[@]}")
}

bucket() {
    local path=${GCS_PATH#gs://}
    printf '%s' "${path%%/*}"
}

# Prints the database user of one part of the bundle, such as reports, backup or truncation.
db_user() { # WHO
    local name=DB_USER_${1^^}
    printf '%s' "${!name:-hiring_$1}"
}

account() {
    printf '%s@%s.iam.gserviceaccount.com' "$1" "$PROJECT_ID"
}

# Prints the bucket into which gcloud uploads source, named by gcloud's own rule.
source_bucket() {
    printf 'run-sources-%s-%s' "$PROJECT_ID" "$REGION"
}
