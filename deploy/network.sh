# shellcheck shell=bash disable=SC2034,SC2154
# The way to the database: Cloud Run's socket, or with DB_HOST a network and verified TLS.

# An instance in this mode is its own authority. In the others, one authority signs for many.
OWN_AUTHORITY=GOOGLE_MANAGED_INTERNAL_CA
AUTHORITY_SECRET=hiring-server-ca
# Nothing else may be in this folder: Cloud Run mounts the secret over it.
AUTHORITY_FILE=/secrets/server-ca.pem

# Checks that all three settings of a network are set, or none.
check_network() {
    DB_HOST=${DB_HOST:-} NETWORK=${NETWORK:-} SUBNET=${SUBNET:-}
    [[ -n $DB_HOST$NETWORK$SUBNET ]] || return 0
    require_settings DB_HOST NETWORK SUBNET
    [[ $SUBNET != */regions/* || $SUBNET == */regions/"$REGION"/* ]] ||
        stop "SUBNET is not in $REGION, the region of the functions: $SUBNET"
    SERVICES+=(compute) # Cloud Run looks the network up there
}

# For check_instance, with its variables: Cloud Run's own socket needs a public address, and an instance
# that is its own authority.
check_socket() {
    local instead="set DB_HOST, NETWORK and SUBNET ($EXAMPLE explains them)"
    [[ " $addresses" == *" PRIMARY/"* ]] ||
        stop "$instance has no public address, which Cloud Run's socket needs;" \
            "${private:+its private address is $private: }$instead, or add a public one:" \
            "$(as_typed gcloud sql instances patch "$instance" --assign-ip)"
    [[ $CA_MODE == "$OWN_AUTHORITY" ]] ||
        stop "$instance has server CA mode $CA_MODE, which Cloud Run's socket does not take; $instead"
}

# The same for a network. Where an instance is its own authority, its certificate proves which instance
# answers. Where the authority signs for others too, the functions compare the name, so they need it.
check_host() {
    [[ $ssl_mode != TRUSTED_CLIENT_CERTIFICATE_REQUIRED && $connectors != REQUIRED ]] ||
        stop "$instance takes no login without a client certificate or a connector; leave DB_HOST, NETWORK" \
            "and SUBNET empty, or patch it: --ssl-mode=ENCRYPTED_ONLY --connector-enforcement=NOT_REQUIRED"
    [[ -n $private ]] || stop "$instance has no private address; leave DB_HOST, NETWORK and SUBNET empty"
    if [[ $CA_MODE == "$OWN_AUTHORITY" ]]; then
        [[ $DB_HOST == "$private" ]] ||
            stop "DB_HOST is not the private address of $instance; set DB_HOST=$private"
    elif [[ $DB_HOST != *[A-Za-z]* ]]; then
        stop "$instance has server CA mode $CA_MODE, whose authority signs for other instances too:" \
            "set DB_HOST to the name of $instance${name:+, DB_HOST=${name%.}}"
    fi
}

# Sets VARIABLES, SECRETS and WAY: how an account gets to the database. The flags in WAY also remove the
# other way from a revision.
describe_database() { # WHO
    SECRETS=DB_PASS=hiring-$1-password:${VERSION_OF[$1]}
    VARIABLES=DB_NAME=$DB_NAME,DB_USER=$(db_user "$1"),GOOGLE_CLOUD_PROJECT=$PROJECT_ID
    if [[ -n $DB_HOST ]]; then
        VARIABLES+=,DB_HOST=$DB_HOST,DB_SSL_CA=$AUTHORITY_FILE
        SECRETS+=,$AUTHORITY_FILE=$AUTHORITY_SECRET:${VERSION_OF[authority]}
        WAY=(--clear-cloudsql-instances --network="$NETWORK" --subnet="$SUBNET"
            --vpc-egress=private-ranges-only)
    else
        VARIABLES+=,INSTANCE_CONNECTION_NAME=$INSTANCE_CONNECTION_NAME
        WAY=(--set-cloudsql-instances="$INSTANCE_CONNECTION_NAME" --clear-network)
    fi
}

# Stores the certificates that verify the server, as a secret that the accounts may read. Sets
# VERSION_OF[authority]. Adds a version only where the certificates have changed.
ensure_authority() {
    local project=${INSTANCE_CONNECTION_NAME%:*:*} instance=${INSTANCE_CONNECTION_NAME##*:}
    local list=(server-ca-certs list --format='value(cert)') certificates
    ensure_secret "$AUTHORITY_SECRET"
    step "certificates of the authority of $instance"
    # Both lists include the certificates of a rotation that has begun or just ended.
    [[ ${CA_MODE:-$OWN_AUTHORITY} == "$OWN_AUTHORITY" ]] ||
        list=(server-certs list --format='value(ca_cert.cert)')
    ask sql ssl "${list[@]}" --instance="$instance" --project="$project"
    certificates=$ANSWER
    [[ $certificates == *"BEGIN CERTIFICATE"* ]] || "$DRY_RUN" ||
        stop "$instance has no certificate of an authority"
    find_version "$AUTHORITY_SECRET"
    [[ -z $VERSION ]] || ask secrets versions access "$VERSION" --secret="$AUTHORITY_SECRET"
    [[ -n $VERSION && $ANSWER == "$certificates" ]] || add_version "$AUTHORITY_SECRET" "$certificates"
    VERSION_OF[authority]=$VERSION
}
