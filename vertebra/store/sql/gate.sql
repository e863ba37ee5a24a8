-- name: run
-- The run that a call says it belongs to, without a lock: the budget's update takes that.
select id, tenant, chain, epoch, state, ended_at, graph_digest, correlation_id, principal, now() as now,
    exists (
        select from revocations v
        where v.tenant = runs.tenant and v.kind = 'person' and v.target = principal and v.lifted_at is null
    ) or exists (select from people p where p.name = principal and p.revoked_at is not null) as principal_revoked
from runs where id = %(run)s;

-- name: contexts
-- A context and its ancestors, nearest first, each with its end: a renewal also renews what was narrowed from it.
with recursive line as (
    select c.*, 0 as up from contexts c where c.id = %(context)s
    union all
    select p.*, l.up + 1 from contexts p join line l on p.id = l.parent where l.up < 16
)
select l.id, l.parent, l.run, l.agent, l.grant, l.depth, l.expires_at, l.key_id, l.seal, l.tenant, l.up, l.at,
    case when l.expires_at is not null then greatest(
        l.expires_at, (select max(r.expires_at) from renewals r join line a on a.id = r.context where a.up >= l.up)
    ) end as until,
    (
        select v.reason from revocations v
        where v.kind = 'context' and v.target = l.id and v.lifted_at is null order by v.at limit 1
    ) as revoked
from line l order by l.up;

-- name: revocations
-- What stands revoked among the names that this call uses.
select id, kind, target, reason from revocations
where tenant = %(tenant)s and lifted_at is null and target = any(%(targets)s);

-- name: journal
-- Every request that was ever made under this activity id.
select id, call_digest, asked_digest, effect, status, result, result_artifact, error, opened_by
from calls where run = %(run)s and activity_id = %(activity_id)s;

-- name: attempts
-- The attempts of this call, in order, and when a person last let a held call of this activity or run go on: the deadline
-- of a call that is sent again after a Hold starts anew.
select n, state, class, counts, opened_by, started_at, (
    select max(at) from (
        select c.applied_at from commands c where c.run = %(run)s and c.verb in ('top_up', 'renew')
        union all select a.decided_at from approvals a where a.run = %(run)s and a.activity_id = %(activity_id)s
    ) granted (at)
) as granted_at
from attempts where call = %(call)s order by n;

-- name: approvals
-- What people were asked about this activity, newest round first, with what they decided; and what guardrails of the same
-- visit asked. `reopened`: an operator has retried the node since this was turned down.
select a.id, a.run, a.activity_id, a.kind, a.subject, a.round, a.request, a.digest, a.assign, a.backup, a.escalate_after,
    a.expires_at, a.state, a.used_by, d.verb, d.arguments, d.arguments_digest, d.reason, d.person, d.key, d.nonce, d.statement,
    d.signature, d.at as decided_at, now() as now,
    exists (
        select from commands c where c.run = a.run and c.node = a.node and c.visit = a.visit and c.verb = 'retry'
            and c.applied_at > coalesce(a.decided_at, a.expires_at)
    ) as reopened
from approvals a left join decisions d on d.approval = a.id and d.at = a.decided_at
where a.run = %(run)s
    and (a.activity_id = %(activity_id)s or (a.kind = 'guardrail' and a.node = %(node)s and a.visit = %(visit)s))
order by a.round desc, d.at, d.id;

-- name: keys
-- The public halves that may have signed those decisions.
select p.name, p.key, p.public_key, p.roles, p.signer, p.revoked_at from people p
where exists (
    select from decisions d join approvals a on a.id = d.approval
    where a.run = %(run)s and a.node = %(node)s and a.visit = %(visit)s and (d.key = p.key or d.person = p.name)
);

-- name: put_call
-- The intent: the first time a call leaves the gate, or again after it was opened, released or lost.
insert into calls (tenant, id, run, activity_id, call_digest, asked_digest, kind, effect, node, visit, context, status)
values (%(tenant)s, %(id)s, %(run)s, %(activity_id)s, %(call_digest)s, %(asked_digest)s, %(kind)s, %(effect)s, %(node)s,
    %(visit)s, %(context)s, 'intended')
on conflict (id) do update set status = 'intended';

-- name: use_approval
-- A decision is used by one call, for all its attempts.
update approvals set used_by = %(call)s where id = %(id)s and (used_by is null or used_by = %(call)s);

-- name: end_call
-- The first outcome that is journalled is the call's.
update calls set status = %(status)s, result = %(result)s, error = %(error)s, ended_at = now()
where id = %(id)s and status in ('intended', 'unknown', 'open');

-- name: wake
-- The run waits for a person about a call whose outcome has come after all: have it look.
insert into outbox (tenant, kind, run, ref) values (%(tenant)s, 'wake', %(run)s, %(ref)s)
on conflict (kind, run, ref) do update set done_at = null, due_at = now();

-- name: mark_unknown
-- Nobody knows what became of this call.
update calls set status = 'unknown', error = %(error)s where id = %(id)s and status in ('intended', 'open');

-- name: release_call
-- The attempt never left: nothing happened, and the next one is no repetition.
update calls set status = 'released' where id = %(id)s and status = 'intended';

-- name: fail_unsent
-- A call that used up its attempts or its time without leaving again.
update calls set status = 'failed', error = %(error)s, ended_at = now() where id = %(id)s and status in ('intended', 'open', 'released');

-- name: own_call
-- The journal's answer for one call, under the lock of the run's row.
select status, result, error from calls where id = %(id)s;

-- name: put_envelope
-- The record of one task or plan; a repeated step finds it written.
insert into envelopes (tenant, run, node, visit, kind, body, digest)
values (%(tenant)s, %(run)s, %(node)s, %(visit)s, %(kind)s, %(body)s, %(digest)s)
on conflict do nothing;

-- name: open_approval
-- Ask a person, once per round.
insert into approvals (tenant, id, run, node, visit, activity_id, round, kind, subject, request, digest, assign, backup,
    escalate_after, remind, expires_at)
values (%(tenant)s, %(id)s, %(run)s, %(node)s, %(visit)s, %(activity_id)s, %(round)s, %(kind)s, %(subject)s, %(request)s,
    %(digest)s, %(assign)s, %(backup)s, now() + make_interval(secs => %(escalate_after_s)s),
    array(select now() + make_interval(secs => s) from unnest(%(remind_s)s::int[]) s),
    now() + make_interval(secs => %(expires_in_s)s))
on conflict (id) do nothing;

-- name: withdraw_approval
-- The request changed after it was shown: what was asked is void.
update approvals set state = 'withdrawn' where id = %(id)s and state = 'pending';

-- name: withdraw_visit
-- Nobody waits for this visit of a node any more: what was asked for it is void.
update approvals set state = 'withdrawn' where run = %(run)s and node = %(node)s and visit = %(visit)s and state = 'pending';

-- name: expire_approval
-- Nobody decided in time.
update approvals set state = 'expired' where id = %(id)s and state = 'pending' and expires_at <= now();

-- name: put_denied
-- A denied call of a model, journalled as the answer that the model read.
insert into calls (tenant, id, run, activity_id, call_digest, kind, effect, node, visit, context, status, result, ended_at)
values (%(tenant)s, %(id)s, %(run)s, %(activity_id)s, %(call_digest)s, %(kind)s, 'pure', %(node)s, %(visit)s, %(context)s,
    'done', %(result)s, now())
on conflict (id) do nothing;

-- name: graph
-- A published graph by its digest.
select bytes from graphs where digest = %(digest)s;

-- name: run_pins
-- What never changes of a run: which graph it pins, whose it is.
select tenant, graph_digest, correlation_id from runs where id = %(run)s;

-- name: known_envelopes
-- Which of these envelopes are written.
select digest from envelopes where run = %(run)s and digest = any(%(digests)s);
