# shellcheck shell=bash disable=SC2034
# What the functions stand on: services, accounts, buckets, the image repository, secrets, and rights.

SERVICES=(run cloudbuild artifactregistry sqladmin sql-component storage secretmanager iam
    cloudresourcemanager)
REPOSITORY=hiring

# The version of each secret that this run found or added.
declare -A VERSION_OF
PROTECTION=(--uniform-bucket-level-access --public-access-prevention)

# usage: find_services_off NAME...
# Sets OFF to those of the services that are not enabled; under --dry-run, to all.
find_services_off() {
    local name
    step "services"
    ask services list --enabled --format='value(config.name)'
    OFF=()
    for name in "$@"; do
        [[ $'\n'$ANSWER$'\n' == *$'\n'"$name.googleapis.com"$'\n'* ]] || OFF+=("$name")
    done
}

# usage: enable_services NAME...
enable_services() {
    step "enable services: $*"
    run services enable "${@/%/.googleapis.com}"
}

# usage: ensure_account NAME PURPOSE
ensure_account() {
    step "service account $1"
    create iam service-accounts create "$1" --display-name="$2"
}

ensure_backup_bucket() {
    step "bucket gs://$(bucket)"
    create storage buckets create "gs://$(bucket)" --location="$REGION" "${PROTECTION[@]}" \
        --soft-delete-duration=7d
    "$DRY_RUN" || check_backup_bucket "$(bucket)"
}

# usage: check_backup_bucket BUCKET
# A bucket that was there before may serve others too: what does not suit us is said, not changed.
check_backup_bucket() {
    local bucket=$1 uniform prevention soft_delete
    local fields=uniform_bucket_level_access,public_access_prevention
    fields+=,soft_delete_policy.retentionDurationSeconds
    attempt "$BUSY" storage buckets describe "gs://$bucket" \
        --format="value[separator=' ']($fields)" ||
        fail "gs://$bucket is somebody else's; set another one in GCS_PATH."
    read -r uniform prevention soft_delete <<<"$ANSWER"
    [[ $uniform == True && $prevention == enforced && ${soft_delete:-0} -ge 604800 ]] ||
        stop "gs://$bucket exists, but without uniform access, public access prevention or seven" \
            "days of soft delete. Name another bucket in GCS_PATH, or change this one:" \
            "$(as_typed gcloud storage buckets update "gs://$bucket" "${PROTECTION[@]}" \
                --soft-delete-duration=7d)"
}

# The build gets what a build needs: its source, its repository, its log.
ensure_build() {
    local source=gs://$1 builder
    builder=serviceAccount:$(account hiring-build)
    step "bucket $source: the source of builds"
    create storage buckets create "$source" --location="$REGION" "${PROTECTION[@]}"
    step "repository $REPOSITORY: the images"
    create artifacts repositories create "$REPOSITORY" --location="$REGION" \
        --repository-format=docker
    step "rights of hiring-build: this source, these images, logs"
    run storage buckets add-iam-policy-binding "$source" --condition=None \
        --member="$builder" --role=roles/storage.objectViewer
    run artifacts repositories add-iam-policy-binding "$REPOSITORY" --location="$REGION" \
        --condition=None --member="$builder" --role=roles/artifactregistry.writer
    run projects add-iam-policy-binding "$PROJECT_ID" --condition=None \
        --member="$builder" --role=roles/logging.logWriter
}

# Sets PASSWORD from a hidden prompt, or from one of the two lines of standard input.
read_password() {
    local user=$1 line=$2
    PASSWORD=""
    ! "$DRY_RUN" || return 0
    if [[ -t $INPUT ]]; then
        IFS= read -rsu "$INPUT" -p "Password of database user $user: " PASSWORD || true
        printf '\n' >&2
    else
        [[ -v PASSWORD_LINES ]] || mapfile -t -n 2 -u "$INPUT" PASSWORD_LINES
        PASSWORD=${PASSWORD_LINES[line]:-}
    fi
    [[ -n $PASSWORD ]] || stop "failed: $STEP: no password for database user $user was given"
}

# usage: find_version SECRET
# Sets VERSION to the number of the newest version, or to nothing. A revision gets this one: `latest`
# could be another at each start of an instance.
find_version() {
    local state
    VERSION=""
    exists secrets versions describe latest --secret="$1" \
        --format="value[separator=' '](name.basename(),state)" || return 0
    read -r VERSION state <<<"$ANSWER"
    [[ ${state^^} == ENABLED ]] ||
        stop "version $VERSION of secret $1, the newest, is ${state,,}; add a version, or enable it"
}

# usage: add_version SECRET CONTENT
add_version() {
    SENT=$2
    run secrets versions add "$1" --data-file=- --format='value(name.basename())'
    SENT=""
    VERSION=${ANSWER:-1}
}

# usage: ensure_secret SECRET
ensure_secret() {
    step "secret $1"
    create secrets create "$1" --replication-policy=automatic
}

# usage: ensure_password WHO DATABASE_USER LINE
# Sets VERSION_OF[WHO]. The secret and its version are two steps: a run that ended between them goes
# on here.
ensure_password() {
    local who=$1 user=$2 line=$3
    local secret=hiring-$who-password
    ensure_secret "$secret"
    step "password of database user $user"
    find_version "$secret"
    if [[ -z $VERSION ]]; then
        read_password "$user" "$line"
        add_version "$secret" "$PASSWORD"
    fi
    VERSION_OF[$who]=$VERSION
    step "rights of hiring-$who: its own password"
    grant_secret "$secret" "hiring-$who"
}

# usage: grant_secret SECRET ACCOUNT
grant_secret() {
    run secrets add-iam-policy-binding "$1" --condition=None \
        --member="serviceAccount:$(account "$2")" --role=roles/secretmanager.secretAccessor
}

# For the socket both accounts may connect to the project's instances. A condition for one instance
# would make other people's unconditional bindings of the project fail where prompts are off.
ensure_way_to_database() {
    local project=${INSTANCE_CONNECTION_NAME%:*:*} who
    if [[ -n $DB_HOST ]]; then
        ensure_authority
        return
    fi
    for who in reports changes; do
        step "rights of hiring-$who: connecting to Cloud SQL"
        run projects add-iam-policy-binding "$project" --project="$project" --condition=None \
            --member="serviceAccount:$(account "hiring-$who")" --role=roles/cloudsql.client
    done
}

# usage: grant_bucket BUCKET ACCOUNT
# A backup creates, reads back and lists objects, and deletes those of a failed run. objectUser has
# all of that; objectAdmin could also say who else may read them.
grant_bucket() {
    step "rights of $2: the objects of gs://$1"
    run storage buckets add-iam-policy-binding "gs://$1" --condition=None \
        --member="serviceAccount:$(account "$2")" --role=roles/storage.objectUser
}
