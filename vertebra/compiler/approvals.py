"""Lowers who is asked, when, and how long: `approval:` on a node with an effect, and the keys of a `human` node."""

from __future__ import annotations

from vertebra.compiler.conditions import Conditions
from vertebra.compiler.durations import DURATION, seconds
from vertebra.compiler.site import Site
from vertebra.policies.fields import nearest
from vertebra.schemas.authored import AuthoredApproval, AuthoredNode
from vertebra.schemas.graph import Approval
from vertebra.schemas.places import Path

_DEFAULT_EXPIRY_S = Approval().expires_in_s
PLATFORM_ROLES = frozenset({"starter", "author", "operator", "admin"})


def lower_approval(
    site: Site, conditions: Conditions, *, sees_call: bool = False, sees_error: bool = False
) -> Approval | None:
    """The approval of a node with an effect. An irreversible tool must say when a person is asked, or why never."""
    asked = site.node.approval
    if asked is None:
        for tool in site.tools:
            if tool.effect == "irreversible":
                do = "add approval: {when: ..., assign: [ROLE]}, or approval: {never: REASON}"
                site.tell(None, f"node {site.id!r} uses the irreversible tool {tool.name!r} without an approval", do)
        return None
    path = (*site.path, "approval")
    if asked.never is not None:
        return _never(site, asked, path)
    when = None
    if asked.when is not None:
        place = (*path, "when")
        when = conditions.compile(asked.when, place, sees_call=sees_call, sees_error=sees_error)
    return _asked(site, asked, path).model_copy(update={"when": when})


def lower_question(site: Site) -> Approval:
    """Who answers a `human` node."""
    return _asked(site, site.node, site.path)


def _never(site: Site, asked: AuthoredApproval, path: Path) -> Approval:
    if asked.model_fields_set != {"never"}:
        site.complain(path, f"the approval of node {site.id!r} has never and more", "keep never alone, or take it away")
    if not (asked.never or "").strip():
        site.complain((*path, "never"), "never gives no reason", "write why nobody needs to be asked")
    return Approval(never=asked.never)


def _asked(site: Site, asked: AuthoredApproval | AuthoredNode, path: Path) -> Approval:
    if not asked.assign:
        site.complain(path, f"nobody is assigned to decide about node {site.id!r}", "add assign: [ROLE]")
    _check_roles(site, asked, path)
    expires = _duration(site, asked.expires_in, (*path, "expires_in")) or _DEFAULT_EXPIRY_S
    escalate = _duration(site, asked.escalate_after, (*path, "escalate_after"))
    remind = [_duration(site, text, (*path, "remind", index)) for index, text in enumerate(asked.remind)]
    if bool(asked.backup) != (asked.escalate_after is not None):
        do = "write both backup: [ROLE] and escalate_after: 4h, or neither"
        site.complain(path, "a backup decides from escalate_after on, so they go together", do)
    for name, time in (("escalate_after", escalate), ("remind", max((time or 0 for time in remind), default=0))):
        if time is not None and time >= expires:
            site.complain((*path, name), f"{name} comes only when the approval has expired", "shorten it")
    return Approval(
        assign=asked.assign,
        backup=asked.backup,
        escalate_after_s=escalate,
        remind_s=tuple(sorted({time for time in remind if time is not None})),
        expires_in_s=expires,
    )


def _check_roles(site: Site, asked: AuthoredApproval | AuthoredNode, path: Path) -> None:
    known = site.catalogue.roles
    if known is None:
        return
    for key, roles in (("assign", asked.assign), ("backup", asked.backup)):
        for index, role in enumerate(roles):
            if role not in known | PLATFORM_ROLES:
                do = nearest(role, known) or "give somebody this role in people.yaml"
                site.complain((*path, key, index), f"nobody has the role {role!r}", do)


def _duration(site: Site, text: str | None, path: Path) -> int | None:
    if text is None:
        return None
    found = seconds(text)
    if found is None:
        site.complain(path, f"{text!r} is no duration in seconds or more", DURATION)
    return found
