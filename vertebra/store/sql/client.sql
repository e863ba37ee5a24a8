-- name: people
-- Everybody who is enrolled.
select name, key, public_key, roles, service, signer, enrolled_by, enrolled_at, revoked_at from people order by name;

-- name: enrol
-- Write a person, or give one new roles; the key stays what it was. Gives the name if something changed. `enrolled_by` is
-- who wrote the row last, as the record of it tells.
insert into people (tenant, name, public_key, key, roles, service, signer, enrolled_by)
values (%(tenant)s, %(name)s, %(public_key)s, %(key)s, %(roles)s, %(service)s, %(signer)s, %(by)s)
on conflict (name) do update
set roles = excluded.roles, service = excluded.service, signer = excluded.signer, enrolled_by = excluded.enrolled_by,
    public_key = coalesce(people.public_key, excluded.public_key), key = coalesce(people.key, excluded.key)
where people.revoked_at is null
    and (people.roles, people.service, people.signer, people.key)
        is distinct from (excluded.roles, excluded.service, excluded.signer, excluded.key)
returning name;

-- name: revoke_person
-- For good: a name that was revoked is not enrolled again.
update people set revoked_at = now(), enrolled_by = %(by)s where name = %(name)s and revoked_at is null returning name;

-- name: put_outbox
-- What the keeper repeats until it is done; the same thing twice is one row.
insert into outbox (tenant, kind, run, ref) values (%(tenant)s, %(kind)s, %(run)s, %(ref)s) on conflict do nothing;

-- name: graphs
-- Every published version.
select name, version, digest, draft, principal, published_by, at from graphs order by name, at desc;

-- name: versions
-- The versions of one graph, the one published last first.
select version, digest, draft, at from graphs where name = %(name)s order by at desc;

-- name: put_graph
-- A version, which nobody can change.
insert into graphs (tenant, name, version, digest, bytes, engine, principal, draft, published_by, key, nonce, statement, signature)
values (%(tenant)s, %(name)s, %(version)s, %(digest)s, %(bytes)s, %(engine)s, %(principal)s, %(draft)s, %(person)s, %(key)s,
    %(nonce)s, %(statement)s, %(signature)s);

-- name: make_current
-- Publish a stored version again: it is the newest from now on, under the new signature.
update graphs set published_by = %(person)s, key = %(key)s, nonce = %(nonce)s, statement = %(statement)s,
    signature = %(signature)s
where name = %(name)s and version = %(version)s and digest = %(digest)s;

-- name: pending
-- What waits for a person, of one run or of all. A decision that the run has not seen yet is told.
select a.id, a.run, a.node, a.visit, a.kind, a.subject, a.digest, a.assign, a.backup, a.escalate_after, a.expires_at, a.at,
    r.graph, now() as now,
    (select d.verb from decisions d where d.approval = a.id order by d.at limit 1) as decided
from approvals a join runs r on r.id = a.run
where a.state = 'pending' and (%(run)s::text is null or a.run = %(run)s)
order by a.at, a.id;

-- name: run_approvals
-- Everything that was asked about one run.
select id, node, visit, kind, subject, round, state, assign, expires_at, used_by, at, decided_at from approvals
where run = %(run)s order by at, id;

-- name: approval
-- One request, with the run that asks.
select a.id, a.tenant, a.run, a.node, a.visit, a.kind, a.subject, a.round, a.request, a.digest, a.assign, a.backup,
    a.escalate_after, a.expires_at, a.state, a.used_by, a.at, r.graph, r.version, r.graph_digest, now() as now
from approvals a join runs r on r.id = a.run where a.id = %(id)s;

-- name: put_decision
-- What a person decided, signed.
insert into decisions (tenant, approval, verb, arguments, arguments_digest, digest, reason, person, key, nonce, statement, signature)
values (%(tenant)s, %(approval)s, %(verb)s, %(arguments)s, %(arguments_digest)s, %(digest)s, %(reason)s, %(person)s, %(key)s,
    %(nonce)s, %(statement)s, %(signature)s);

-- name: put_command
-- What an operator says to a run, signed.
insert into commands (tenant, id, run, epoch, node, visit, verb, arguments, arguments_digest, reason, person, key, nonce,
    statement, signature)
values (%(tenant)s, %(id)s, %(run)s, %(epoch)s, %(node)s, %(visit)s, %(verb)s, %(arguments)s, %(arguments_digest)s, %(reason)s,
    %(person)s, %(key)s, %(nonce)s, %(statement)s, %(signature)s);

-- name: unread_events
-- How many events of a run nobody took yet, and their size.
select count(*) as number, coalesce(sum(length(arguments)), 0)::bigint as bytes
from commands where run = %(run)s and verb = 'event' and applied_at is null and refused_at is null;

-- name: put_revocation
-- What is forbidden from now on, signed.
insert into revocations (tenant, id, kind, target, reason, person, key, nonce, statement, signature)
values (%(tenant)s, %(id)s, %(kind)s, %(target)s, %(reason)s, %(person)s, %(key)s, %(nonce)s, %(statement)s, %(signature)s);

-- name: contexts
-- The rights of a run, the root first, each with its latest renewal and the reason of a revocation.
select c.id, c.parent, c.agent, c.grant, c.depth, c.expires_at, c.at, now() as now,
    (select max(n.expires_at) from renewals n where n.context = c.id) as renewed_until,
    (
        select v.reason from revocations v
        where v.kind = 'context' and v.target = c.id and v.lifted_at is null order by v.at limit 1
    ) as revoked
from contexts c where c.run = %(run)s order by c.depth, c.agent;

-- name: context_stands
-- Whether there is such a context.
select id from contexts where id = %(id)s;

-- name: run
-- One run.
select id, tenant, chain, execution_id, epoch, graph, version, graph_digest, correlation_id, principal, started_by, state,
    input, input_digest, output, output_artifact, error, audit_seq, limit_microusd, limit_tokens, on_breach, spent_microusd,
    spent_tokens, held_microusd, held_tokens, started_at, ended_at, now() as now
from runs where id = %(run)s;

-- name: runs
-- The newest runs.
select id, graph, version, state, principal, started_by, spent_microusd, spent_tokens, held_microusd, limit_microusd, error,
    started_at, ended_at, now() as now,
    (select count(*) from approvals a where a.run = runs.id and a.state = 'pending') as approvals
from runs
where (%(state)s::text is null or state = %(state)s) and (%(graph)s::text is null or graph = %(graph)s)
order by started_at desc limit %(limit)s;

-- name: standing
-- Where some runs are now, with what they wait for and the node that waits, else the one whose call is out, else the one
-- that was answered or moved last. `told`: a person has said something that the run has not looked at yet, so it will still move.
select r.id, r.state, r.spent_microusd, r.spent_tokens, r.error, r.started_at, r.ended_at, now() as now,
    coalesce(
        (select w.node from waits w where w.run = r.id order by w.since, w.node, w.visit limit 1),
        (select c.node from calls c where c.run = r.id and c.status = 'intended' and r.ended_at is null
            order by c.at desc, c.id limit 1),
        -- between two calls of one node: its envelope is not written yet, so the newest is that of the node before it
        (select c.node from calls c where c.run = r.id and r.ended_at is null
            and c.ended_at > (select max(e.at) from envelopes e where e.run = r.id) order by c.ended_at desc, c.id limit 1),
        (select e.node from envelopes e where e.run = r.id order by e.id desc limit 1)
    ) as node,
    (select count(*) from envelopes e where e.run = r.id and e.kind = 'task') as done,
    array(select a.id from approvals a where a.run = r.id and a.state = 'pending' order by a.at, a.id) as approvals,
    array(select w.node from waits w where w.run = r.id and w.kind = 'blocked' order by w.node) as blocked,
    array(
        select distinct convert_from(g.bytes, 'UTF8')::json -> 'nodes' -> w.node -> 'pause' ->> 'event'
        from waits w join graphs g on g.digest = r.graph_digest where w.run = r.id and w.kind = 'event' order by 1
    ) as events,
    exists (select from outbox o where o.run = r.id and o.kind in ('wake', 'resume') and o.done_at is null) as told
from runs r where r.id = any(%(ids)s);

-- name: heard_events
-- The event that each waiting node of a run listens for.
select w.node, convert_from(g.bytes, 'UTF8')::json -> 'nodes' -> w.node -> 'pause' ->> 'event' as event
from runs r join graphs g on g.digest = r.graph_digest join waits w on w.run = r.id
where r.id = %(run)s and w.kind = 'event';

-- name: envelopes
-- What a run did, in the order of writing.
select body, at from envelopes where run = %(run)s order by id;

-- name: calls
-- The calls of a run with their attempts, oldest first.
select c.id, c.activity_id, c.kind, c.effect, c.node, c.visit, c.status, c.error, c.at, c.ended_at,
    (select count(*) from attempts a where a.call = c.id) as attempts,
    (select coalesce(sum(a.settled_microusd), 0)::bigint from attempts a where a.call = c.id) as microusd,
    (select coalesce(sum(a.settled_tokens), 0)::bigint from attempts a where a.call = c.id) as tokens,
    (select count(*) from attempts a where a.call = c.id and a.state in ('held', 'unknown')) as held
from calls c where c.run = %(run)s order by c.at, c.id;

-- name: waits
-- What a run waits for.
select node, visit, kind, ref, round, error, since, until from waits where run = %(run)s order by since, node, visit;
