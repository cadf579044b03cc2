# shellcheck shell=bash
# Makes the alerts on a failed or missing backup: three policies in Cloud Monitoring. It uses the REST
# API, because gcloud has policies in its alpha commands only.

MONITORING=https://monitoring.googleapis.com/v3
# The last is the name of version 1.
ALERTS=("Hiring backup failed" "Hiring backup not completed" "Hiring backup missing" "Hiring backups")
# A failed backup notifies at once, and again at the check of its age.
ALERT_PERIOD=3600s
# Closes before the next night, whose failure notifies again.
ALERT_OPEN=43200s

# Sends one request, with further arguments of curl; prints the answer, or Google's error.
monitoring() { # METHOD PATH [ARGUMENT...]
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
        printf 'HTTPError %s: %s\n' "$status" "$(head -c 2000 "$WORK/answer" | tr -s '[:space:]' ' ')" >&2
        return 1
    fi
}

check_channel() {
    step "channel $ALERT_CHANNEL"
    ! "$DRY_RUN" || return 0
    CALLER=monitoring attempt "$BUSY|SERVICE_DISABLED|has not been used" GET "$ALERT_CHANNEL" ||
        fail "Is ALERT_CHANNEL right? This shows them: gcloud beta monitoring channels list --project=$PROJECT_ID"
    [[ ! $ANSWER =~ \"enabled\":\ *false|\"UNVERIFIED\" ]] ||
        stop "ALERT_CHANNEL: $ALERT_CHANNEL is switched off or not verified; nobody would hear of it"
}

# Sets FILTER to an alert's log entries and MEANS to what they mean. Cloud Monitoring allows a single
# condition for logs. No entry of a deployment names the function, or is of a job.
describe_alert() { # NAME
    local function='resource.type="cloud_run_revision" AND jsonPayload.function="backup_data"'
    local job='resource.type="cloud_scheduler_job" AND resource.labels.job_id'
    local answered='jsonPayload.debugInfo=~"response code number = [45]"'
    local trial="jsonPayload.dry_run:* OR jsonPayload.max_age_hours:* OR jsonPayload.max_drill_age_days:*"
    case $1 in
    *failed)
        MEANS="A backup failed, and none was stored. The log says why:"
        FILTER="(($function AND NOT ($trial)) OR ($job=\"$BACKUP_JOB\" AND $answered))"
        ;;
    *completed)
        MEANS="The nightly call was not answered in time. The backup may be stored all the same: see"
        FILTER="$job=\"$BACKUP_JOB\" AND NOT $answered"
        ;;
    *missing)
        MEANS="There is no backup with rows of the last day, or no good drill of the last weeks. The log:"
        FILTER="(($function AND jsonPayload.code=~\"_missing\") OR ($job=\"$AGE_JOB\") OR"
        FILTER+=" ($job=\"$DRILL_AGE_JOB\"))"
        ;;
    esac
    FILTER="severity>=ERROR AND resource.labels.location=\"$REGION\" AND $FILTER"
}

# Prints a policy as JSON; the settings' forms exclude characters that would need an escape.
alert_policy() { # NAME
    describe_alert "$1"
    printf '%s' "{\"displayName\": \"$1 in $REGION\", \"combiner\": \"OR\", \"conditions\": [" \
        "{\"displayName\": \"$1\", \"conditionMatchedLog\": {\"filter\": \"${FILTER//\"/\\\"}\"}}], " \
        "\"alertStrategy\": {\"notificationRateLimit\": {\"period\": \"$ALERT_PERIOD\"}, " \
        "\"autoClose\": \"$ALERT_OPEN\"}, \"documentation\": {\"content\": " \
        "\"$MEANS $(log_of backup-data)\", \"mimeType\": \"text/markdown\"}, " \
        "\"notificationChannels\": [\"$ALERT_CHANNEL\"]}"
}

# Makes these policies, then removes those that were there, so that one always watches.
replace_alerts() { # NAME...
    local name there=()
    step "alert policies"
    for name in "${ALERTS[@]}"; do
        CALLER=monitoring exists GET "projects/$PROJECT_ID/alertPolicies" --get \
            --data-urlencode "filter=display_name=\"$name in $REGION\"" || continue
        mapfile -t -O "${#there[@]}" there \
            < <(grep -oE 'projects/[^/"]+/alertPolicies/[0-9]+"' <<<"$ANSWER" | tr -d '"')
    done
    ! "$DRY_RUN" || there=("projects/$PROJECT_ID/alertPolicies/NUMBER")
    for name in "$@"; do
        CALLER=monitoring run POST "projects/$PROJECT_ID/alertPolicies" \
            --header "Content-Type: application/json" --data "$(alert_policy "$name")"
    done
    for name in "${there[@]}"; do
        CALLER=monitoring remove DELETE "$name"
    done
}
