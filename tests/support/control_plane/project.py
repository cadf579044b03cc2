"""The state of a project and its history."""

import copy
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import control_plane.jobs
import control_plane.run_jobs  # noqa: F401 - for their routes
from control_plane import functions, monitoring, resources
from control_plane.refusals import ROWS, refused, text
from control_plane.server import Raw, Refused, Request, Server, find

# The service that must be enabled for requests to a host.
SERVICE_OF = re.compile(r"(?:[a-z]+-[a-z]+[0-9]-)?([a-z0-9]+)\.googleapis\.com")
ALWAYS_ON = {"serviceusage", "cloudresourcemanager", "oauth2"}


@dataclass
class Fault:
    """Makes matching requests fail.

    Args:
        address: a regular expression, searched in `METHOD host/path`.
        status: of the answer.
        word: for the status, as in Google's errors.
        message: of the answer.
        times: how many requests fail.
    """

    address: str
    status: int = 403
    word: str = "PERMISSION_DENIED"
    message: str = "Permission 'x' denied on resource."
    times: float = float("inf")

    @classmethod
    def once(cls, address: str, name: str) -> "Fault":
        """The row of this name in deploy/refusals.tsv, for the first matching request."""
        status, _, word = ROWS[name].moment.partition(" ")
        return cls(address, int(status), word, text(name), 1)


@dataclass(frozen=True)
class Moment:
    """The state of a function after a request changed it.

    Attributes:
        name: of the function.
        serving: the revision with the traffic; empty if there is none.
        socket: the Cloud SQL instances of that revision.
        network: its network and subnet, if it has any.
        variables: the environment of that revision.
        secrets: its secrets, as `name:version`.
        callers: the members that may call it; everyone is `allUsers`.
    """

    name: str
    serving: str
    socket: str
    network: tuple[str, str] | None
    variables: dict[str, str]
    secrets: tuple[str, ...]
    callers: frozenset[str]


@dataclass
class Project:
    """A project of Google Cloud, empty but for a Cloud SQL instance.

    Attributes:
        clock: a file with the seconds of each wait, one a line: no command really waits.
        visible_after: seconds until a new account or an enabled service is known.
        forbids_all_users: whether an organisation's policy forbids allUsers.
        forbids_global: whether one forbids what is not in a region.
        reaches: the settings with which a job's command reaches the tests' server and storage.
        firsts: names of the refusals that the next build or revision meets.
        database_users: of the instance.
        answer: returns a function's answer, given its revision and the query.
        owners: the members that may call every function, whatever its policy says.
        build_fails: whether every build fails.
        networks: the region of each subnet, by network.
        history: the state of each function after each change.
        requests: `METHOD host/path` of each request.
        refusal: a file; while it has a status and `changes` or `all`, such requests are refused.
    """

    clock: Path
    visible_after: float = 0
    forbids_all_users: bool = False
    forbids_global: bool = False
    build_fails: bool = False
    firsts: set[str] = field(default_factory=set)
    database_users: set[str] = field(default_factory=set)
    owners: frozenset[str] = frozenset({"user:owner@example.com"})
    answer: Callable[[dict, str], Raw] | None = None
    networks: dict[str, dict[str, str]] = field(default_factory=dict)
    enabled: dict[str, float] = field(default_factory=dict)
    accounts: dict[str, float] = field(default_factory=dict)
    policies: dict[str, dict] = field(default_factory=dict)
    buckets: dict[str, dict] = field(default_factory=dict)
    objects: dict[tuple[str, str], bytes] = field(default_factory=dict)
    secrets: dict[str, list[dict]] = field(default_factory=dict)
    repositories: dict[str, dict] = field(default_factory=dict)
    instances: dict[str, dict] = field(default_factory=dict)
    scheduled: dict[str, dict] = field(default_factory=dict)
    channels: dict[str, dict] = field(default_factory=monitoring.channels)
    alerts: dict[str, dict] = field(default_factory=dict)
    services: dict[str, dict] = field(default_factory=dict)
    revisions: dict[str, dict] = field(default_factory=dict)
    builds: dict[str, dict] = field(default_factory=dict)
    images: dict[str, dict] = field(default_factory=dict)
    jobs: dict[str, dict] = field(default_factory=dict)
    run_jobs: dict[str, dict] = field(default_factory=dict)
    executions: dict[str, dict] = field(default_factory=dict)
    reaches: dict[str, str] = field(default_factory=dict)
    uploads: dict[str, dict] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    history: list[Moment] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.clock.touch()
        self.refusal = self.clock.with_name("refusal")
        self.refusal.touch()
        self._lock = threading.RLock()
        self.instances["people"] = resources.instance("people")
        self.server = Server(self._answer)

    def close(self) -> None:
        self.server.close()

    @property
    def now(self) -> float:
        return sum(float(line) for line in self.clock.read_text().split())

    def _answer(self, request: Request) -> Any:
        with self._lock:
            line = f"{request.method} {request.host}{request.path}"
            if not request.host.endswith(".run.app"):
                self.requests.append(line)
            self._refuse_all(request)
            for fault in self.faults:
                if fault.times > 0 and re.search(fault.address, line):
                    fault.times -= 1
                    raise Refused(fault.status, fault.word, fault.message)
            if request.host.endswith(".run.app"):
                return functions.call(self, request)
            self._require_service(request.host)
            handler, parts = find(request)
            answer = handler(self, request, **parts)
            self._remember()
            return copy.deepcopy(answer)

    def _refuse_all(self, request: Request) -> None:
        """Refuses what `refusal` says: a status, and `changes` or `all` requests.

        A file beside it, `refusal.met`, says that this happened.
        """
        status, _, which = self.refusal.read_text().strip().partition(" ")
        changes = request.method != "GET" and not request.path.endswith(":getIamPolicy")
        if status and not request.host.startswith("oauth2.") and (changes or which == "all"):
            self.refusal.with_suffix(".met").touch()
            word = {"403": "PERMISSION_DENIED", "503": "UNAVAILABLE"}[status]
            raise Refused(int(status), word, "Refused by the test.")

    def _require_service(self, host: str) -> None:
        match = SERVICE_OF.fullmatch(host)
        service = match[1] if match else host
        if service not in ALWAYS_ON and not self.is_enabled(f"{service}.googleapis.com"):
            raise refused("service off", "SERVICE_DISABLED", service=service)

    def is_enabled(self, service: str) -> bool:
        return self.enabled.get(service, float("inf")) <= self.now

    def meets_first(self, name: str) -> bool:
        """Whether this refusal is still to be met; it is met then."""
        met = name in self.firsts
        self.firsts.discard(name)
        return met

    def is_known(self, account: str) -> bool:
        return self.accounts.get(account, float("inf")) <= self.now

    def holders(self, resource: str, *roles: str) -> set[str]:
        """The members that have one of the roles on a resource."""
        bindings = self.policies.get(resource, {}).get("bindings", [])
        return {member for each in bindings if each["role"] in roles for member in each["members"]}

    def _remember(self) -> None:
        last = {moment.name: moment for moment in self.history}
        for name in self.services:
            moment = functions.moment(self, name)
            if last.get(name) != moment:
                self.history.append(moment)
