# shellcheck shell=bash
# Makes the alert on a failed or missing backup: one policy in Cloud Monitoring. It uses the REST
# API, because gcloud has policies in its alpha commands only.

MONITORING=https://monitoring.googleapis.com/v3
ALERT_NAME="Hiring backups in"
# A failed backup notifies at once, and again at the check of its age.
ALERT_PERIOD=3600s
# Closes before the next night, whose failure notifies again.
ALERT_OPEN=43200s

# usage: monitoring METHOD PATH [ARGUMENT...]
# Sends one request, with further arguments of curl; prints the answer, or Google's error.
monitoring() {
    local method=$1 path=$2 token status
    shift 2
    local request=(curl --request "$method" "$MONITORING/$path" "$@")
    if "$DRY_RUN"; then
        note "$(as_typed "${request[@]}" --header 'Authorization: Bearer ...')"
        return
    fi
    token=$(gcloud auth print-access-token --project="$PROJECT_ID") || return
    # The token stays out of the list of processes.
    status=$("${request[@]}" --config - --silent --show-error --max-time "$ANSWER_SECONDS" \
        --output "$WORK/answer" --write-out '%{http_code}' \
        <<<"header = \"Authorization: Bearer $token\"") || return
    if [[ $status == 2* ]]; then cat "$WORK/answer"; else
        printf 'HTTPError %s: %s\n' "$status" "$(head -c 2000 "$WORK/answer")" >&2
        return 1
    fi
}

# Checks the channel before anything is made.
check_channel() {
    step "channel $ALERT_CHANNEL"
    ! "$DRY_RUN" || return 0
    CALLER=monitoring attempt "$BUSY|SERVICE_DISABLED|has not been used" GET "$ALERT_CHANNEL" ||
        fail "Is ALERT_CHANNEL right? This shows them: gcloud beta monitoring channels list --project=$PROJECT_ID"
    [[ ! $ANSWER =~ \"enabled\":\ *false|\"UNVERIFIED\" ]] ||
        stop "ALERT_CHANNEL: $ALERT_CHANNEL is switched off or not verified; nobody would hear of it"
}

# Prints the filter of the alert's log entries. Cloud Monitoring allows a single condition for logs.
alert_filter() {
    printf '%s' "severity>=ERROR AND resource.labels.location=\"$REGION\" AND (" \
        '(resource.type="cloud_run_revision" AND resource.labels.service_name="backup-data") OR ' \
        '(resource.type="cloud_scheduler_job" AND (' \
        "resource.labels.job_id=\"$BACKUP_JOB\" OR resource.labels.job_id=\"$AGE_JOB\")))"
}

# Prints the policy as JSON; the settings' forms exclude characters that would need an escape.
alert_policy() {
    local filter advice
    filter=$(alert_filter)
    advice="A backup failed, is missing, or could not be called. The log says why: $(log_of backup-data)"
    printf '%s' "{\"displayName\": \"$ALERT_NAME $REGION\", \"combiner\": \"OR\", \"conditions\": [" \
        '{"displayName": "an error of the backup or of its schedule", "conditionMatchedLog": ' \
        "{\"filter\": \"${filter//\"/\\\"}\"}}], \"alertStrategy\": {\"notificationRateLimit\": " \
        "{\"period\": \"$ALERT_PERIOD\"}, \"autoClose\": \"$ALERT_OPEN\"}, " \
        "\"documentation\": {\"content\": \"$advice\", \"mimeType\": \"text/markdown\"}, " \
        "\"notificationChannels\": [\"$ALERT_CHANNEL\"]}"
}

# Sets POLICIES to the names of those that are there: none or one, or more after two runs at once.
find_policies() {
    POLICIES=()
    CALLER=monitoring exists GET "projects/$PROJECT_ID/alertPolicies" --get \
        --data-urlencode "filter=display_name=\"$ALERT_NAME $REGION\"" || return 0
    mapfile -t POLICIES < <(grep -oE 'projects/[^/"]+/alertPolicies/[0-9]+"' <<<"$ANSWER" | tr -d '"')
}

# One policy, as the settings want it.
ensure_alert() {
    local content=(--header "Content-Type: application/json" --data "$(alert_policy)")
    step "alert policy"
    find_policies
    if ((${#POLICIES[@]})); then
        CALLER=monitoring run PATCH "${POLICIES[0]}" "${content[@]}"
        remove_policies "${POLICIES[@]:1}"
    else
        ! "$DRY_RUN" || note "# unless it exists, else PATCH:"
        CALLER=monitoring run POST "projects/$PROJECT_ID/alertPolicies" "${content[@]}"
    fi
}

remove_alert() {
    step "no alert policy"
    find_policies
    ! "$DRY_RUN" || POLICIES=("projects/$PROJECT_ID/alertPolicies/NUMBER")
    remove_policies "${POLICIES[@]}"
}

# usage: remove_policies NAME...
remove_policies() {
    local name
    for name in "$@"; do
        CALLER=monitoring remove DELETE "$name"
    done
}
