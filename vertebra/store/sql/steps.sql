-- name: newest_graph
-- The version that a start means: the one it names, else the one published last; drafts only where they are served.
select name, version, digest, bytes, principal, draft, tenant, published_by, statement, signature, key, at, now() as now from graphs
where name = %(name)s and (%(version)s::text is null or version = %(version)s) and (%(drafts)s or not draft or version = %(version)s)
order by at desc limit 1;

-- name: person
-- Somebody by name, or by the key that signed.
select name, key, public_key, roles, service, signer, revoked_at from people where name = any(%(names)s) or key = any(%(keys)s);

-- name: run_row
-- The row that claims a run id, with what a repeated admission must answer.
select id, tenant, chain, execution_id, epoch, resume_command, graph_digest, state, ended_at, correlation_id, input, input_artifact, output,
    output_artifact, error
from runs where id = %(run)s;

-- name: run_contexts
-- The contexts that were sealed when the run was admitted.
select id, agent from contexts where run = %(run)s and (parent is null or depth = 1) order by id;

-- name: settled
-- Which branches the joins of an earlier life of the run took, and when its waits end; the newest record of a visit counts.
select distinct on (node, visit, position('"inline":{"wait":'::bytea in body) > 0) node, visit, body from envelopes
where run = %(run)s and kind = 'plan'
    and (position('"inline":{"join":'::bytea in body) > 0 or position('"inline":{"wait":'::bytea in body) > 0)
order by node, visit, position('"inline":{"wait":'::bytea in body) > 0, id desc;

-- name: taken_events
-- Which visit of which node took which event.
select node, visit, body from envelopes
where run = %(run)s and kind = 'plan' and position('"inline":{"event":'::bytea in body) > 0 order by id;

-- name: claim_run
-- Claim a run id for ever.
insert into runs (tenant, id, chain, execution_id, graph, version, graph_digest, correlation_id, project_id, principal,
    started_by, input, input_artifact, input_digest, limit_microusd, limit_tokens, on_breach)
values (%(tenant)s, %(id)s, %(chain)s, %(execution_id)s, %(graph)s, %(version)s, %(graph_digest)s, %(correlation_id)s, null,
    %(principal)s, %(started_by)s, %(input)s, null, %(input_digest)s, %(limit_microusd)s, %(limit_tokens)s,
    %(on_breach)s)
on conflict (id) do nothing
returning id, audit_seq, audit_hash;

-- name: put_context
-- Seal one agent's rights into the run.
insert into contexts (tenant, id, parent, run, agent, "grant", depth, expires_at, key_id, seal)
values (%(tenant)s, %(id)s, %(parent)s, %(run)s, %(agent)s, %(grant)s, %(depth)s, %(expires_at)s, %(key_id)s, %(seal)s)
on conflict (id) do nothing;

-- name: take_chain
-- A resumed run goes on in a new chain of executions; only its own resume command may say so.
update runs set chain = %(chain)s, execution_id = %(execution_id)s
where id = %(run)s and resume_command = %(command)s and ended_at is null;

-- name: touch_execution
-- Which execution is at work now; for looking only.
update runs set execution_id = %(execution_id)s where id = %(run)s and execution_id is distinct from %(execution_id)s;

-- name: clear_waits
-- Waits that are no longer open.
delete from waits where run = %(run)s and not (ref = any(%(refs)s));

-- name: put_wait
-- One open wait, since when it is first seen; a node that blocks again in the same visit waits anew.
insert into waits (tenant, run, node, visit, kind, ref, round, error, until)
values (%(tenant)s, %(run)s, %(node)s, %(visit)s, %(kind)s, %(ref)s, %(round)s, %(error)s, %(until)s)
on conflict (run, node, visit, kind, ref) do update
set round = excluded.round, error = excluded.error, until = excluded.until, since = now()
where (waits.round, waits.error) is distinct from (excluded.round, excluded.error);

-- name: set_state
-- What the run is doing, for lists and pages.
update runs set state = %(state)s, touched_at = now() where id = %(run)s and ended_at is null and state <> %(state)s;

-- name: asked_approvals
-- The approvals that are waited for.
select id, run, node, visit, activity_id, kind, subject, round, digest, assign, backup, escalate_after, expires_at, state,
    now() as now
from approvals where id = any(%(ids)s);

-- name: asked_before
-- The questions of one visit of a `human` node, by round; all, or the one of this id.
select id, round, digest, state, expires_at from approvals
where run = %(run)s and activity_id = %(activity_id)s and kind = 'human' and (%(id)s::text is null or id = %(id)s)
order by round;

-- name: asked_decisions
-- What was signed about them, oldest first: what decided them, and for those that nobody decided what no look has read yet,
-- as many as one may verify.
with oldest as (
    select d.id, d.at, coalesce(octet_length(d.arguments), 0) as size
    from approvals a join decisions d on d.approval = a.id
    where a.id = any(%(ids)s) and a.state in ('pending', 'expired', 'withdrawn') and d.consumed_at is null
    order by d.at, d.id limit %(most)s
), unread as (
    select id, coalesce(sum(size) over (order by at, id rows between unbounded preceding and 1 preceding), 0) as bytes from oldest
)
select approval, verb, arguments, arguments_digest, digest, reason, person, key, nonce, statement, signature, at, consumed_at
from decisions where id in (select id from unread where bytes < %(most_bytes)s) or id in (
    select d.id from approvals a join decisions d on d.approval = a.id and d.at = a.decided_at where a.id = any(%(ids)s)
)
order by at, id;

-- name: run_commands
-- What operators signed about this run, oldest first: what no look has read yet, as many as one may verify; and of the rest
-- what may still answer. That is what was said to these blocked visits, the first end of this life, and who was last to
-- raise the limits and to renew.
with oldest as (
    select id, at, coalesce(octet_length(arguments), 0) as size from commands
    where run = %(run)s and verb not in ('event', 'resume') and consumed_at is null order by at, id limit %(most)s
), unread as (
    select id, coalesce(sum(size) over (order by at, id rows between unbounded preceding and 1 preceding), 0) as bytes from oldest
), looked_at as (
    select id, verb, epoch, node, visit, at, applied_at from commands
    where run = %(run)s and consumed_at is not null and refused_at is null
), standing as (
    (
        select id from looked_at where verb in ('retry', 'skip', 'override')
            and (node, visit) in (select * from unnest(%(nodes)s::text[], %(visits)s::int[]))
        order by applied_at is null, at desc, id desc limit %(most)s
    ) union all (
        select id from looked_at where verb in ('abort', 'cancel') and epoch = (select epoch from runs where id = %(run)s)
        order by at, id limit 1
    ) union all (
        select id from looked_at where verb = 'top_up' order by at desc, id desc limit 1
    ) union all (
        select id from looked_at where verb = 'renew' order by at desc, id desc limit 1
    )
)
select id, run, epoch, node, visit, verb, arguments, arguments_digest, reason, person, key, nonce, statement, signature, at,
    consumed_at, applied_at, refused_at
from commands
where id in (select id from unread where bytes < %(most_bytes)s) or id in (select id from standing)
order by at, id;

-- name: sent_events
-- The events of this run that nobody took, oldest first, as many as one look may verify; and those that these visits took.
with unread as (
    select id, count(*) over earlier as number, sum(length(coalesce(arguments, ''))) over earlier as bytes
    from commands where run = %(run)s and verb = 'event' and applied_at is null and refused_at is null
    window earlier as (order by at, id rows between unbounded preceding and 1 preceding)
), taken as (
    select convert_from(body, 'UTF8')::json #>> '{inline,event}' as id from envelopes
    where run = %(run)s and kind = 'plan' and position('"inline":{"event":'::bytea in body) > 0
        and (node, visit) in (select * from unnest(%(nodes)s::text[], %(visits)s::int[]))
)
select id, run, epoch, node, visit, verb, arguments, arguments_digest, reason, person, key, nonce, statement, signature, at,
    consumed_at, applied_at, refused_at
from commands
where run = %(run)s and verb = 'event' and (
    id in (select id from unread where number < %(most)s and coalesce(bytes, 0) < %(most_bytes)s)
    or id in (select id from taken)
)
order by at, id;

-- name: signers
-- The people and keys behind those signatures.
select name, key, public_key, roles, service, signer, revoked_at from people
where name in (
    select person from commands where run = %(run)s
    union select d.person from decisions d join approvals a on a.id = d.approval where a.run = %(run)s
) or key in (
    select key from commands where run = %(run)s
    union select d.key from decisions d join approvals a on a.id = d.approval where a.run = %(run)s
);

-- name: decide_approval
-- The first decision that counts ends the approval.
update approvals set state = %(state)s, decided_at = %(at)s where id = %(id)s and state = 'pending';

-- name: consume_decision
-- The run has seen this decision: the outbox may stop.
update decisions set consumed_at = now() where approval = %(approval)s and nonce = %(nonce)s and consumed_at is null
returning 'decision' as kind, extract(epoch from now() - at)::float8 as seconds;

-- name: consume_command
-- The run has seen this command.
update commands set consumed_at = now() where id = %(id)s and consumed_at is null
returning case verb when 'event' then 'event' else 'command' end as kind, extract(epoch from now() - at)::float8 as seconds;

-- name: refuse_command
-- A command that does not count is put aside for good.
update commands set refused_at = now() where id = %(id)s and refused_at is null;

-- name: apply_command
-- What a command does, it does once.
update commands set applied_at = now() where id = %(id)s and applied_at is null;

-- name: put_aside
-- Commands that will never do anything.
update commands set applied_at = now() where run = %(run)s and id = any(%(ids)s) and applied_at is null;

-- name: open_call
-- Retry: the journal's answer is opened, the next attempt is counted anew.
update calls set status = 'open', opened_by = %(command)s, error = null, ended_at = null
where run = %(run)s and activity_id = %(activity_id)s and status in ('failed', 'unknown');

-- name: put_renewal
-- The same rights for longer.
insert into renewals (tenant, command, context, expires_at)
select c.tenant, %(command)s, c.id, now() + make_interval(secs => %(seconds)s)
from contexts c where c.run = %(run)s and (%(context)s::text is null or c.id = %(context)s) order by c.depth limit 1
on conflict do nothing;

-- name: context_lives
-- When each context of a run ends, without an end if never; a renewal also renews what was narrowed from it.
with recursive line as (
    select c.id as context, c.id, c.parent from contexts c where c.run = %(run)s
    union all
    select l.context, p.id, p.parent from contexts p join line l on p.id = l.parent
)
select c.id, now() as now, case when c.expires_at is not null then greatest(
    c.expires_at, (select max(r.expires_at) from renewals r join line l on l.id = r.context where l.context = c.id)
) end as until
from contexts c where c.run = %(run)s;

-- name: done_wake
-- The run has looked at these rows, or, without a list, has ended: what was to wake it has done so.
update outbox set done_at = now()
where run = %(run)s and kind = 'wake' and done_at is null and (%(refs)s::text[] is null or ref = any(%(refs)s));

-- name: open_approvals
-- What people still have to decide about this run.
select id, assign, backup, escalate_after, expires_at, now() as now from approvals where run = %(run)s and state = 'pending';

-- name: end_run
-- The end, once.
update runs set state = %(state)s, output = %(output)s, output_artifact = %(output_artifact)s, error = %(error)s, ended_at = now(), touched_at = now()
where id = %(run)s and ended_at is null
returning graph, state, extract(epoch from now() - started_at)::float8 as seconds;

-- name: withdraw_approvals
-- Nobody needs to decide for a run that has ended.
update approvals set state = 'withdrawn' where run = %(run)s and state = 'pending';

-- name: answered_calls
-- Calls of unknown outcome whose outcome has come after all.
select id, activity_id from calls where run = %(run)s and activity_id = any(%(activity_ids)s) and status in ('done', 'failed');
