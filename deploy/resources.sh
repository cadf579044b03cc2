# shellcheck shell=bash disable=SC2034
# What the functions stand on: services, accounts, buckets, the image repository, secrets, and rights.

SERVICES=(run cloudbuild artifactregistry sqladmin sql-component storage secretmanager iam
    cloudresourcemanager)
REPOSITORY=hiring

declare -A VERSION_OF # of each secret that this run found or added
PROTECTION=(--uniform-bucket-level-access --public-access-prevention)

# Sets OFF to those of SERVICES that are not enabled; under --dry-run, to all.
find_services_off() {
    local name
    step "services"
    ask services list --enabled --format='value(config.name)'
    OFF=()
    for name in "${SERVICES[@]}"; do
        [[ $'\n'$ANSWER$'\n' == *$'\n'"$name.googleapis.com"$'\n'* ]] || OFF+=("$name")
    done
}

enable_services() { # NAME...
    step "enable services: $*"
    run services enable "${@/%/.googleapis.com}"
}

# Sets CREATED.
ensure_account() { # NAME PURPOSE
    step "service account $1"
    create iam service-accounts create "$1" --display-name="$2"
}

ensure_backup_bucket() {
    step "bucket gs://$(bucket)"
    create storage buckets create "gs://$(bucket)" --location="${BACKUP_LOCATION:-$REGION}" \
        "${PROTECTION[@]}" --soft-delete-duration=7d \
        ${BACKUP_RETENTION:+--retention-period="$BACKUP_RETENTION"} \
        ${BACKUP_KEY:+--default-encryption-key="$BACKUP_KEY"}
    "$DRY_RUN" || check_backup_bucket "gs://$(bucket)"
}

# A bucket that was there before may serve others too: what does not suit us is said, not changed.
check_backup_bucket() { # BUCKET
    local bucket=$1 uniform prevention soft_delete
    local fields=uniform_bucket_level_access,public_access_prevention
    fields+=,soft_delete_policy.retentionDurationSeconds
    attempt "$BUSY" storage buckets describe "$bucket" --format="value[separator=' ']($fields)" ||
        fail "$bucket is somebody else's; set another one in GCS_PATH."
    read -r uniform prevention soft_delete <<<"$ANSWER"
    [[ $uniform == True && $prevention == enforced && ${soft_delete:-0} -ge 604800 ]] ||
        stop "$bucket exists, but without uniform access, public access prevention or seven" \
            "days of soft delete. Name another bucket in GCS_PATH, or change this one:" \
            "$(as_typed gcloud storage buckets update "$bucket" "${PROTECTION[@]}" \
                --soft-delete-duration=7d)"
}

# The build gets what a build needs: its source, its repository, its log.
ensure_build() {
    local source=gs://$1
    step "bucket $source: the source of builds"
    create storage buckets create "$source" --location="$REGION" "${PROTECTION[@]}"
    step "repository $REPOSITORY: the images"
    create artifacts repositories create "$REPOSITORY" --location="$REGION" \
        --repository-format=docker
    grant "storage buckets" "$source" build storage.objectViewer
    grant "artifacts repositories" "$REPOSITORY" build artifactregistry.writer --location="$REGION"
    grant projects "$PROJECT_ID" build logging.logWriter
}

copy_modules() { # FOLDER
    do_here mkdir -p "$1"
    do_here cp -R hiring pages restore operate "$1"
    do_here cp ./*.py "$1"
}

# Has Cloud Build make an image of a folder with a Dockerfile, as the account that builds the functions:
# it needs no further right. Sets IMAGE.
build_image() { # NAME:TAG FOLDER
    IMAGE=$REGION-docker.pkg.dev/$PROJECT_ID/$REPOSITORY/$1
    build builds submit "$2" --config=deploy/cloudbuild.yaml --substitutions="_IMAGE=$IMAGE" \
        --region="$REGION" --suppress-logs \
        --service-account="projects/$PROJECT_ID/serviceAccounts/$(account hiring-build)" \
        --gcs-source-staging-dir="gs://$(source_bucket)/${1%:*}"
}

# Stops, with the SQL, where a database user is missing whose password no run has stored yet.
check_users() { # WHO...
    local who missing=()
    step "database users"
    ! "$DRY_RUN" || return 0
    for who in "$@"; do
        exists secrets versions describe latest --secret="hiring-$who-password" || missing+=("$who")
    done
    ((${#missing[@]})) || return 0
    ask sql users list --instance="${INSTANCE_CONNECTION_NAME##*:}" \
        --project="${INSTANCE_CONNECTION_NAME%:*:*}" --format='value(name)'
    for who in "${missing[@]}"; do
        [[ $'\n'$ANSWER$'\n' == *$'\n'"$(db_user "$who")"$'\n'* ]] || grants_of "$who" >>"$WORK/grants"
    done
    [[ -s $WORK/grants ]] || return 0
    cat "$WORK/grants" >&2
    stop "nothing was changed: database users are missing; run this SQL as an administrator, then this again"
}

# Prints the statements of grants.sql for one database user, with the names in the settings.
grants_of() { # WHO
    sed -nE "s/^(--   )?((CREATE USER|GRANT) .*\bhiring_$1@.*;)$/\2/p" deploy/grants.sql |
        sed -E "s/\bhiring_$1@/'$(db_user "$1")'@/; s/ ON hiring(_drill)?\./ ON \`$DB_NAME\1\`./"
}

# Sets PASSWORD from a hidden prompt, or from the next line of standard input.
read_password() { # WHO
    local user
    user=$(db_user "$1")
    PASSWORD=""
    ! "$DRY_RUN" || return 0
    IFS= read -rsu "$INPUT" -p "Password of database user $user: " PASSWORD || true
    [[ ! -t $INPUT ]] || printf '\n' >&2
    [[ -n $PASSWORD ]] || stop "failed: $STEP: no password for database user $user was given"
}

# Sets VERSION to the number of the newest version, or to nothing. A revision gets a number: `latest` could
# be another at each start of an instance.
find_version() { # SECRET
    local state
    VERSION=""
    exists secrets versions describe latest --secret="$1" \
        --format="value[separator=' '](name.basename(),state)" || return 0
    read -r VERSION state <<<"$ANSWER"
    [[ ${state^^} == ENABLED ]] ||
        stop "version $VERSION of secret $1, the newest, is ${state,,}; add a version, or enable it"
}

add_version() { # SECRET CONTENT
    SENT=$2
    run secrets versions add "$1" --data-file=- --format='value(name.basename())'
    SENT=""
    VERSION=${ANSWER:-1}
}

ensure_secret() { # SECRET
    step "secret $1"
    create secrets create "$1" --replication-policy=user-managed --locations="$REGION"
}

# Sets VERSION_OF[WHO]. The secret and its version are two steps: a run that ended between them goes
# on here.
ensure_password() { # WHO
    local secret=hiring-$1-password
    ensure_secret "$secret"
    step "password of database user $(db_user "$1")"
    find_version "$secret"
    if [[ -z $VERSION ]]; then
        read_password "$1"
        add_version "$secret" "$PASSWORD"
    fi
    VERSION_OF[$1]=$VERSION
    grant secrets "$secret" "$1" secretmanager.secretAccessor
}

# For the socket the accounts may connect to the project's instances. A condition for one instance
# would make other people's unconditional bindings of the project fail where prompts are off.
ensure_way_to_database() { # WHO...
    local project=${INSTANCE_CONNECTION_NAME%:*:*} who
    [[ -z $DB_HOST ]] || ensure_authority
    for who in "$@"; do
        if [[ -n $DB_HOST ]]; then grant secrets "$AUTHORITY_SECRET" "$who" secretmanager.secretAccessor; else
            grant projects "$project" "$who" cloudsql.client --project="$project"
        fi
    done
}

# Whoever stores objects may create, read and list them, and remove them only with MAY_DELETE.
grant_bucket() { # WHO [MAY_DELETE]
    local bucket
    bucket=gs://$(bucket)
    grant "storage buckets" "$bucket" "$1" storage.objectCreator
    grant "storage buckets" "$bucket" "$1" storage.objectViewer
    if [[ -n ${2:-} ]]; then grant "storage buckets" "$bucket" "$1" storage.objectUser; else
        remove storage buckets remove-iam-policy-binding "$bucket" --all \
            --member="serviceAccount:$(account "hiring-$1")" --role=roles/storage.objectUser
    fi
}
