"""Notification channels and alert policies of Cloud Monitoring.

The rules: https://cloud.google.com/monitoring/api/ref_v3/rest/v3/projects.alertPolicies
"""

import re
from typing import TYPE_CHECKING, Any

from control_plane.log_filter import Malformed, compile_filter
from control_plane.refusals import not_found
from control_plane.server import Refused, Request, route

if TYPE_CHECKING:
    from control_plane.project import Project

HOST = "monitoring.googleapis.com/v3/projects/{p}"
DURATION = re.compile(r"(\d+)s")
SHORTEST_PERIOD, LONGEST_PERIOD = 300, 172_800
SHORTEST_OPEN = 1800


def channels() -> dict[str, dict]:
    """Three channels: a working address, one that is switched off, and an unverified number."""
    found = {
        "11": {"type": "email", "enabled": True},
        "12": {"type": "email", "enabled": False},
        "13": {"type": "sms", "enabled": True, "verificationStatus": "UNVERIFIED"},
    }
    return {
        number: {"name": f"projects/acme/notificationChannels/{number}"} | channel
        for number, channel in found.items()
    }


def invalid(message: str) -> Refused:
    return Refused(400, "INVALID_ARGUMENT", message)


def require_token(request: Request) -> None:
    if request.headers.get("authorization") != "Bearer an access token":
        message = "Request had invalid authentication credentials."
        raise Refused(401, "UNAUTHENTICATED", message)


def seconds(value: object) -> int:
    match = DURATION.fullmatch(str(value))
    if match is None:
        raise invalid(f"Illegal duration format: {value}")
    return int(match[1])


def check_policy(project: "Project", policy: dict) -> None:
    """Checks a policy by Google's rules.

    Raises:
        Refused: Google would refuse the policy.
    """
    if not policy.get("displayName") or policy.get("combiner") not in ("OR", "AND"):
        raise invalid("Field alert_policy.display_name and combiner are required.")
    for name in policy.get("notificationChannels", []):
        if name not in [channel["name"] for channel in project.channels.values()]:
            raise not_found(f"Notification channel {name}")
    conditions = policy.get("conditions", [])
    matched = [each["conditionMatchedLog"] for each in conditions if "conditionMatchedLog" in each]
    if len(conditions) != 1 or len(matched) != 1:
        raise invalid("A policy with a LogMatch condition has exactly one condition.")
    try:
        compile_filter(matched[0]["filter"])
    except Malformed as error:
        raise invalid(f"Invalid filter in condition_matched_log: {error}") from error
    strategy = policy.get("alertStrategy", {})
    if "notificationRateLimit" not in strategy:
        raise invalid("notification_rate_limit is required for log-based alert policies.")
    period = seconds(strategy["notificationRateLimit"]["period"])
    if not SHORTEST_PERIOD <= period <= LONGEST_PERIOD:
        raise invalid("notification_rate_limit.period is out of range.")
    if seconds(strategy.get("autoClose", "604800s")) < SHORTEST_OPEN:
        raise invalid("auto_close must be at least 30 minutes.")


@route("GET", HOST + "/notificationChannels/{number}")
def get_channel(project: "Project", request: Request, p: str, number: str) -> Any:
    require_token(request)
    if number not in project.channels:
        raise not_found(f"Notification channel {number}")
    return project.channels[number]


@route("GET", HOST + "/alertPolicies")
def list_alerts(project: "Project", request: Request, p: str) -> Any:
    require_token(request)
    name = re.fullmatch('display_name="([^"]+)"', request.query["filter"])
    if name is None:
        raise invalid("Invalid filter.")
    found = [each for each in project.alerts.values() if each["displayName"] == name[1]]
    return {"alertPolicies": found, "totalSize": len(found)} if found else {}


@route("POST", HOST + "/alertPolicies")
def create_alert(project: "Project", request: Request, p: str) -> Any:
    require_token(request)
    check_policy(project, request.content)
    number = str(7000 + len(project.alerts))
    return store(project, number, request.content)


def store(project: "Project", number: str, policy: dict) -> dict:
    """Stores a policy, with names for it and for its conditions as Google gives them."""
    name = f"projects/acme/alertPolicies/{number}"
    named = [each | {"name": f"{name}/conditions/1"} for each in policy["conditions"]]
    project.alerts[number] = policy | {"name": name, "conditions": named, "enabled": True}
    return project.alerts[number]


def find_alert(project: "Project", number: str) -> dict:
    if number not in project.alerts:
        raise not_found(f"Alert policy {number}")
    return project.alerts[number]


@route("PATCH", HOST + "/alertPolicies/{number}")
def replace_alert(project: "Project", request: Request, p: str, number: str) -> Any:
    require_token(request)
    find_alert(project, number)
    check_policy(project, request.content)
    return store(project, number, request.content)


@route("DELETE", HOST + "/alertPolicies/{number}")
def delete_alert(project: "Project", request: Request, p: str, number: str) -> Any:
    require_token(request)
    find_alert(project, number)
    del project.alerts[number]
    return {}
