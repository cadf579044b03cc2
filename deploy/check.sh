# shellcheck shell=bash disable=SC2034
# Checks before the first change: tools, login, and an instance that the functions can reach.

OLDEST_GCLOUD=511 # the first with `run deploy --function` and `--build-service-account`

check_tools() {
    local version
    ! "$DRY_RUN" || return 0
    step "gcloud"
    command -v gcloud >/dev/null ||
        stop "gcloud is not installed: https://cloud.google.com/sdk/docs/install"
    version=$(gcloud version --format='value("Google Cloud SDK")')
    ((${version%%.*} >= OLDEST_GCLOUD)) ||
        stop "needs gcloud $OLDEST_GCLOUD or newer, not $version; run: gcloud components update"
    command -v curl >/dev/null || stop "curl is not installed"
}

check_login() {
    step "login"
    ! "$DRY_RUN" || return 0
    attempt "$BUSY" auth print-access-token || fail "gcloud is not logged in; run: gcloud auth login"
    ANSWER="" # keeps the token out of later output
}

# Checks that the instance exists, is MySQL, runs, and can be reached. Asks again while gcloud's
# error matches the pattern.
check_instance() { # [PATTERN]
    local project=${INSTANCE_CONNECTION_NAME%:*:*} instance=${INSTANCE_CONNECTION_NAME##*:}
    local version state policy name ssl_mode connectors addresses private
    step "instance $INSTANCE_CONNECTION_NAME"
    ! "$DRY_RUN" || return 0
    local fields=databaseVersion,state,settings.activationPolicy
    fields+=",settings.ipConfiguration.serverCaMode,dnsName,settings.ipConfiguration.sslMode"
    fields+=",settings.connectorEnforcement,ipAddresses.map().format('{0}/{1}',type,ipAddress).list(separator=' ')"
    attempt "${1:-$BUSY}" sql instances describe "$instance" --project="$project" \
        --format="value[separator='|']($fields)" ||
        fail "Is INSTANCE_CONNECTION_NAME right? This shows them: gcloud sql instances list --project=$project"
    IFS='|' read -r version state policy CA_MODE name ssl_mode connectors addresses <<<"$ANSWER"
    [[ $version == MYSQL_[89]* ]] || stop "$instance is $version, not MySQL 8.0 or newer"
    [[ $policy != NEVER ]] || stop "$instance is stopped; start it:" \
        "$(as_typed gcloud sql instances patch "$instance" --activation-policy=ALWAYS --project="$project")"
    [[ $state == RUNNABLE ]] || stop "$instance is not running but $state"
    CA_MODE=${CA_MODE:-$OWN_AUTHORITY}
    private=$(sed -n 's|.*\<PRIVATE/\([^ ]*\).*|\1|p' <<<"$addresses")
    if [[ -n $DB_HOST ]]; then check_host; else check_socket; fi
}
