-- name: settle_wakes
-- Wakes for which there is nothing to do (any more): no such run is open, it has consumed what it was woken for, or the
-- wake names nothing of it. What is signed and its wake are written together.
update outbox o set done_at = now()
where o.id in (
    select w.id from outbox w
    where w.kind = 'wake' and w.done_at is null and (w.due_at <= now() or w.due_at > now() + interval '5 minutes') and not (
        exists (select from runs r where r.id = w.run and r.ended_at is null)
        and (
            exists (
                select from commands c
                where c.id = split_part(w.ref, 'command/', 2) and c.run = w.run and c.consumed_at is null
            )
            or exists (
                select from approvals a join decisions d on d.approval = a.id
                where a.run = w.run and w.ref = 'decision/' || d.nonce and d.consumed_at is null
            )
            or exists (
                select from approvals a
                where a.id = split_part(w.ref, 'approval/', 2) and a.run = w.run
                    and (a.state = 'pending' or exists (select from waits s where s.run = w.run and s.ref = a.id))
            )
            or exists (select from calls c where c.id = split_part(w.ref, 'call/', 2) and c.run = w.run)
        )
    )
    order by w.id limit %(limit)s for update of w skip locked
)
returning o.id;

-- name: claim_wakes
-- Wakes that are due, each pushed back before it is sent: 1, 2, 4 .. 60 s. Whoever dies with one loses only time. What is
-- due in more than a minute was written before the database's clock was set back: it is due now, here and below.
update outbox set tries = tries + 1, due_at = now() + make_interval(secs => least(60, 2 ^ least(tries, 6)))
where id in (
    select id from outbox where kind = 'wake' and done_at is null and (due_at <= now() or due_at > now() + interval '5 minutes')
    order by due_at limit %(limit)s for update skip locked
)
returning id, run, ref, tries;

-- name: put_wake
-- Wake a run until it has seen what `ref` names; once more where it was woken for that before.
insert into outbox (tenant, kind, run, ref) values (%(tenant)s, 'wake', %(run)s, %(ref)s) on conflict do nothing;

-- name: claim_resumes
-- Resumes that are due, leased for as long as one try may take. Also those of no run: left out here they would stay in front.
update outbox set tries = tries + 1, due_at = now() + make_interval(secs => %(lease_s)s)
where id in (
    select id from outbox where kind = 'resume' and done_at is null and (due_at <= now() or due_at > now() + interval '5 minutes')
    order by due_at limit %(limit)s for update skip locked
)
returning id, run, ref, tries;

-- name: postpone
-- A resume that is not done yet: again after 1, 2, 4 .. 60 s.
update outbox set due_at = now() + make_interval(secs => least(60, 2 ^ least(tries - 1, 6))) where id = %(id)s;

-- name: done
-- Nothing is left to do for this row.
update outbox set done_at = now() where id = %(id)s and done_at is null;

-- name: claim_audits
-- What was administered and is not on record yet, each pushed back before it is tried: 1, 2, 4 .. 60 s.
update outbox set tries = tries + 1, due_at = now() + make_interval(secs => least(60, 2 ^ least(tries, 6)))
where id in (
    select id from outbox where kind = 'audit' and done_at is null and (due_at <= now() or due_at > now() + interval '5 minutes')
    order by id limit %(limit)s for update skip locked
)
returning id, tenant, ref;

-- name: lock_audit
-- The same row, for as long as its entry is written; no row where another worker has written it.
select id from outbox where id = %(id)s and done_at is null for update;

-- name: publications
-- The versions of graphs that bear this nonce, each with the digest of the bytes that are stored.
select name, version, digest, draft, published_by as person, key, nonce, statement, signature, at,
    'sha256:' || encode(sha256(bytes), 'hex') as held
from graphs where nonce = %(nonce)s order by at, name, version limit 10;

-- name: revocation
-- One revocation.
select id, kind, target, reason, person, key, nonce, statement, signature, at from revocations where id = %(id)s;

-- name: enrolled
-- One person, as the owner wrote it last.
select name, key, roles, service, signer, enrolled_by, revoked_at from people where name = %(name)s;

-- name: lock_run
-- Lock a run's row and read it, unless somebody is at work on it: then no row, and a later pass comes back.
select id, tenant, state, epoch, ended_at, correlation_id, audit_seq, audit_hash, limit_microusd, limit_tokens, on_breach,
    spent_microusd, spent_tokens, held_microusd, held_tokens, counters, chain, execution_id, resume_command, graph, version,
    graph_digest, input, input_artifact, exists (
        select from outbox o
        where o.kind = 'resume' and o.run = runs.id and o.ref = 'command/' || runs.resume_command and o.done_at is null
    ) as reviving
from runs where id = %(run)s
for update skip locked;

-- name: place
-- Where Temporal may know this run, and which resume opened its row, if it is open.
select id, tenant, epoch, chain, execution_id, case when ended_at is null then resume_command end as reviving from runs where id = %(run)s;

-- name: command
-- One signed command.
select id, run, epoch, node, visit, verb, arguments, arguments_digest, reason, person, key, nonce, statement, signature, at,
    consumed_at, applied_at
from commands where id = %(id)s;

-- name: command_signers
-- Who may have signed it.
select p.name, p.key, p.public_key, p.roles, p.service, p.signer, p.revoked_at
from commands c join people p on p.name = c.person or p.key = c.key
where c.id = %(id)s;

-- name: reopen_run
-- Resume: the row is open again, one epoch later. Money, unknown reservations and decided approvals stay.
update runs set epoch = epoch + 1, ended_at = null, state = 'running', output = null, output_artifact = null, error = null,
    resume_command = %(command)s, touched_at = now()
where id = %(run)s and ended_at is not null and state <> 'completed';

-- name: done_activities
-- The activities whose answer the journal holds, and those that nobody waits for: a join went on without them.
select distinct c.activity_id from calls c
where c.run = %(run)s and (c.status = 'done' or exists (
    select from envelopes e
    where e.run = c.run and e.node = c.node and e.visit = c.visit and e.kind = 'task'
        and position('"error":{"type":"JoinLost"'::bytea in e.body) > 0
));

-- name: due_reminders
-- Approvals whose people are to be reminded, or whose backups are to be told: more of those times have passed than were told.
select id, run from approvals
where state = 'pending' and reminded
    < (select count(*) from unnest(remind) as t where t <= now()) + coalesce(escalate_after <= now(), false)::int
order by at limit %(limit)s;

-- name: approval
-- One approval with its times.
select a.id, a.node, a.visit, a.assign, a.backup, a.remind, a.reminded, a.escalate_after, a.state, now() as now,
    a.state = 'pending' and a.expires_at <= now() and not exists (
        select from decisions d where d.approval = a.id and d.at < a.expires_at and d.consumed_at is null
    ) as overdue
from approvals a where a.id = %(id)s;

-- name: count_reminders
-- So many of its times were told.
update approvals set reminded = %(reminded)s where id = %(id)s and state = 'pending';

-- name: due_expiries
-- Approvals of open runs that nobody decided in time. What was signed in time is the run's to judge.
select a.id, a.run from approvals a join runs r on r.id = a.run
where a.state = 'pending' and a.expires_at <= now() and r.ended_at is null and not exists (
    select from decisions d where d.approval = a.id and d.at < a.expires_at and d.consumed_at is null
)
order by a.expires_at limit %(limit)s;

-- name: claim_untouched
-- Open runs that nothing has touched for a while, or that were touched before the clock was set back; touched so that
-- nobody asks again for as long. A run whose resume is being carried out has no execution on purpose.
update runs set touched_at = now()
where id in (
    select r.id from runs r
    where r.ended_at is null
        and (r.touched_at < now() - make_interval(secs => %(untouched_s)s) or r.touched_at > now() + interval '5 minutes')
        and not exists (select from outbox o where o.kind = 'resume' and o.run = r.id and o.done_at is null)
    order by r.touched_at limit %(limit)s for update of r skip locked
)
returning id, epoch, chain, execution_id;

-- name: held_long
-- Attempts that left the gate this long ago and have not reported.
select a.call, a.n, a.run, a.started_at, c.node, c.activity_id, r.graph_digest, r.chain, r.execution_id, r.ended_at, now() as now
from attempts a join calls c on c.id = a.call join runs r on r.id = a.run
where a.state = 'held' and a.started_at < now() - make_interval(secs => %(older_s)s)
order by random() limit %(limit)s;

-- name: held_attempts
-- The attempts of a run that have not reported, with their calls; all, or those of the listed calls.
select a.call, a.n, a.reserved_microusd, a.reserved_tokens, c.kind, c.node, c.visit, c.activity_id, c.context
from attempts a join calls c on c.id = a.call
where a.run = %(run)s and a.state = 'held' and (%(calls)s::text[] is null or a.call = any(%(calls)s))
order by a.call, a.n;

-- name: doubtful_calls
-- Calls that left and may have happened, and that may not simply be repeated; all, or of the listed ones.
select id, node, visit, activity_id from calls
where run = %(run)s and status = 'intended' and not effect = any(%(repeatable)s)
    and (%(calls)s::text[] is null or id = any(%(calls)s))
order by id;

-- name: claim_exports
-- Runs with entries that no collector was told, each pushed back before it is told: 2, 4 .. 256 s if that fails.
update exports e set tries = e.tries + 1, due_at = now() + make_interval(secs => 2 ^ least(e.tries + 1, 8))
where e.sink = 'spans' and e.run in (
    select x.run from exports x join runs r on r.id = x.run
    where x.sink = 'spans' and x.done_at is null and (x.due_at <= now() or x.due_at > now() + interval '5 minutes')
        and (r.audit_seq > x.seq or r.ended_at is not null)
    order by x.due_at limit %(limit)s for update of x skip locked
)
returning e.run, e.seq;

-- name: export_run
-- What all spans of a run share.
select id, graph_digest, correlation_id from runs where id = %(run)s;

-- name: export_facts
-- Every entry of a run without its content; where spans begin may lie before what was told last.
select seq, facts from audit where stream = %(run)s and facts is not null order by seq;

-- name: export_replies
-- What models said of replies that came since.
select c.id, c.result from calls c
where c.run = %(run)s and c.kind = 'llm' and c.status = 'done' and c.result is not null and c.id in (
    select facts ->> 'call' from audit
    where stream = %(run)s and seq > %(after)s and facts ->> 'operation' = 'llm_call' and facts ->> 'phase' = 'outcome'
);

-- name: export_tools
-- The entries of tools that ended since: they name the definition that was used.
select body from audit
where stream = %(run)s and seq > %(after)s and facts ->> 'operation' = 'tool_execution' and facts ->> 'phase' = 'outcome';

-- name: move_export
-- Told up to here. Of a run that has ended, that is all, until it is resumed.
update exports e set seq = greatest(e.seq, %(seq)s), tries = 0, due_at = now() + make_interval(secs => %(again_s)s),
    done_at = case when r.ended_at is not null and r.audit_seq <= %(seq)s then now() end
from runs r
where r.id = e.run and e.sink = 'spans' and e.run = %(run)s;

-- name: stands
-- What waits and what is held, over all tenants.
select
    (select count(*) from outbox where done_at is null) as outbox_depth,
    (select count(*) from exports e join runs r on r.id = e.run where e.done_at is null and r.audit_seq > e.seq) as exports_depth,
    (select count(*) from runs where ended_at is null) as concurrent_runs,
    (select count(distinct (a.run, x.agent)) from attempts a join calls c on c.id = a.call join contexts x on x.id = c.context
        where a.state = 'held' and x.agent <> '') as active_agents,
    (select count(*) from runs where ended_at is null and state <> 'running') as runs_parked,
    (select count(*) from approvals where state = 'pending') as approvals_pending,
    (select coalesce(sum(reserved_microusd), 0)::bigint from attempts where state = 'held') as held_microusd,
    (select coalesce(sum(reserved_microusd), 0)::bigint from attempts where state = 'unknown') as unknown_microusd;
