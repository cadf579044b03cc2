# shellcheck shell=bash
# At the end of a script's parts: each call of gcloud is refused twice before it succeeds. First with
# 403, which ends the script (here a subshell of it), then with 503, which the script waits out.
# REFUSAL is the project's file; what the ends said goes into REFUSED, a line each, if that is set.

[[ -n ${REFUSED:-} ]] || return 0

refuse() {
    printf '%s' "$*" >"$REFUSAL"
}

# Whoever waits finds Google ready again.
sleep() {
    refuse
    command sleep "$@"
}

# usage: refused_first REQUESTS FUNCTION ARGUMENT...
refused_first() {
    local which=$1 said status=0
    shift
    rm -f "$REFUSAL.met"
    refuse 403 "$which"
    said=$("$@" 2>&1 >/dev/null) || status=$?
    # Removing what is not there ends before the request that would be refused.
    [[ ! -e $REFUSAL.met ]] || printf '%s|%s\n' "$status" "${said##*$'\n'}" >>"$REFUSED"
    refuse 503 "$which"
    status=0
    "$@" || status=$?
    refuse
    return "$status"
}

# One call after the other: what is refused is the project's, not a call's.
apart() { deploy_function "$@"; }

together() { :; }

# usage: refuse_first REQUESTS FUNCTION...
refuse_first() {
    local which=$1 function
    shift
    for function in "$@"; do
        eval "really_$(declare -f "$function")"
        eval "$function() { refused_first $which really_$function \"\$@\"; }"
    done
}

refuse_first changes run build create remove
refuse_first all ask exists check_backup_bucket check_channel
