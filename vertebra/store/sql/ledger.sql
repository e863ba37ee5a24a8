-- name: reserve
-- Hold the upper bound of one call, if it fits. Zero rows: refused (no such run, ended, or over a limit).
-- Locks the run's row until the transaction ends and gives the audit head under that lock.
-- A call that costs nothing is not refused for what others overspent.
update runs set
    held_microusd = held_microusd + %(microusd)s,
    held_tokens = held_tokens + %(tokens)s,
    touched_at = now()
where id = %(run)s
    and ended_at is null
    and (%(microusd)s = 0 or limit_microusd is null or spent_microusd + held_microusd + %(microusd)s <= limit_microusd)
    and (%(tokens)s = 0 or limit_tokens is null or spent_tokens + held_tokens + %(tokens)s <= limit_tokens)
returning id, tenant, state, epoch, ended_at, correlation_id, audit_seq, audit_hash, limit_microusd, limit_tokens,
    on_breach, spent_microusd, spent_tokens, held_microusd, held_tokens, counters;

-- name: head
-- Lock the run's row and give the audit head and the books, for transactions that reserve and settle nothing.
select id, tenant, state, epoch, ended_at, correlation_id, audit_seq, audit_hash, limit_microusd, limit_tokens,
    on_breach, spent_microusd, spent_tokens, held_microusd, held_tokens, counters
from runs where id = %(run)s
for update;

-- name: books
-- The same without a lock, for pages and expressions.
select id, tenant, state, epoch, ended_at, correlation_id, audit_seq, audit_hash, limit_microusd, limit_tokens,
    on_breach, spent_microusd, spent_tokens, held_microusd, held_tokens, counters
from runs where id = %(run)s;

-- name: open_attempt
-- The attempt that holds a reservation; in the transaction that reserved.
insert into attempts (
    tenant, call, n, run, execution_id, worker, state, reserved_microusd, reserved_tokens, price_digest, opened_by
) values (
    %(tenant)s, %(call)s, %(n)s, %(run)s, %(execution_id)s, %(worker)s, 'held', %(microusd)s, %(tokens)s,
    %(price_digest)s, %(opened_by)s
);

-- name: lose_attempts
-- Earlier attempts of a call that never reported: unknown, their reservations stay held. Under the lock of the run's row.
update attempts set state = 'unknown', class = coalesce(class, 'lost'), ended_at = now()
where call = %(call)s and state = 'held' and n <> %(n)s
returning n;

-- name: end_attempt
-- End one attempt exactly once as settled, released or unknown. The run's row is locked first, then the attempt, so two
-- attempts of one call cannot deadlock. `ended` is false if it had ended before: then the books stay as they are.
-- An unknown attempt keeps its reservation and may still be settled or released. The figures of the whole run stand in its
-- row, where guardrails read them under its lock; those of agents and nodes in rows of their own, or each call of a long
-- graph would rewrite and read them all.
with head as (
    select id, tenant from runs where id = %(run)s for update
), ended as (
    update attempts a set
        state = %(state)s, class = %(class)s, counts = %(counts)s, settled_microusd = %(microusd)s,
        settled_tokens = %(tokens)s, estimated = %(estimated)s, raw_usage = %(raw_usage)s, ended_at = now()
    from head
    where a.call = %(call)s and a.n = %(n)s and a.run = head.id
        and (a.state = 'held' or (a.state = 'unknown' and %(state)s <> 'unknown'))
    returning a.n, a.reserved_microusd, a.reserved_tokens
), counted as (
    insert into counters (tenant, run, scope, figures)
    select h.tenant, h.id, s.scope, vertebra_count('{}', array['of'], %(figures)s::jsonb) -> 'of'
    from head h cross join ended cross join unnest(%(scopes)s::text[]) as s (scope)
    where %(figures)s::jsonb is not null
    on conflict (run, scope) do update set
        figures = vertebra_count(jsonb_build_object('of', counters.figures), array['of'], %(figures)s::jsonb) -> 'of'
)
update runs r set
    held_microusd = r.held_microusd - case when %(state)s = 'unknown' then 0 else coalesce(e.reserved_microusd, 0) end,
    held_tokens = r.held_tokens - case when %(state)s = 'unknown' then 0 else coalesce(e.reserved_tokens, 0) end,
    spent_microusd = r.spent_microusd + case when e.n is null then 0 else coalesce(%(microusd)s, 0) end,
    spent_tokens = r.spent_tokens + case when e.n is null then 0 else coalesce(%(tokens)s, 0) end,
    counters = case
        when e.n is null or %(figures)s::jsonb is null then r.counters
        else vertebra_count(r.counters, array['run'], %(figures)s::jsonb)
    end,
    touched_at = now()
from head left join ended e on true
where r.id = head.id
returning e.n is not null as ended, r.id, r.tenant, r.state, r.epoch, r.ended_at, r.correlation_id, r.audit_seq,
    r.audit_hash, r.limit_microusd, r.limit_tokens, r.on_breach, r.spent_microusd, r.spent_tokens, r.held_microusd,
    r.held_tokens, r.counters;

-- name: top_up
-- Raise the limits of a run once per command. `applied` is false if the command was applied before, or is not this run's.
with head as (
    select id from runs where id = %(run)s for update
), applied as (
    update commands c set applied_at = now()
    from head
    where c.id = %(command)s and c.run = head.id and c.applied_at is null
    returning c.id
)
update runs r set
    limit_microusd = r.limit_microusd + case when a.id is null then 0 else %(microusd)s end,
    limit_tokens = r.limit_tokens + case when a.id is null then 0 else %(tokens)s end,
    touched_at = now()
from head left join applied a on true
where r.id = head.id
returning a.id is not null as applied, r.id, r.tenant, r.state, r.epoch, r.ended_at, r.correlation_id, r.audit_seq,
    r.audit_hash, r.limit_microusd, r.limit_tokens, r.on_breach, r.spent_microusd, r.spent_tokens, r.held_microusd,
    r.held_tokens, r.counters;

-- name: held
-- What a run still holds, with the call it is for: attempts in flight, and those whose outcome nobody knows.
select a.call, a.n, a.state, a.worker, a.execution_id, a.reserved_microusd, a.reserved_tokens, a.started_at,
    c.activity_id, c.node, c.visit
from attempts a join calls c on c.id = a.call
where a.run = %(run)s and a.state in ('held', 'unknown')
order by a.started_at, a.call, a.n;

-- name: check_books
-- Runs whose books do not equal the sum of their attempts; none, ever.
select r.id, r.spent_microusd, r.spent_tokens, r.held_microusd, r.held_tokens,
    s.spent_microusd as attempts_spent_microusd, s.spent_tokens as attempts_spent_tokens,
    s.held_microusd as attempts_held_microusd, s.held_tokens as attempts_held_tokens
from runs r
cross join lateral (
    select
        coalesce(sum(a.settled_microusd), 0) as spent_microusd,
        coalesce(sum(a.settled_tokens), 0) as spent_tokens,
        coalesce(sum(a.reserved_microusd) filter (where a.state in ('held', 'unknown')), 0) as held_microusd,
        coalesce(sum(a.reserved_tokens) filter (where a.state in ('held', 'unknown')), 0) as held_tokens
    from attempts a where a.run = r.id
) s
where (%(run)s::text is null or r.id = %(run)s)
    and (r.spent_microusd, r.spent_tokens, r.held_microusd, r.held_tokens)
        is distinct from (s.spent_microusd, s.spent_tokens, s.held_microusd, s.held_tokens)
order by r.id;

-- name: costs
-- What attempts cost and hold, as finely as reports group them. A day is that of the attempt's start, in UTC.
select r.graph, r.graph_digest, x.agent, c.kind, to_char(a.started_at at time zone 'UTC', 'YYYY-MM-DD') as day,
    count(*) as attempts,
    coalesce(sum(a.settled_microusd), 0) as settled_microusd, coalesce(sum(a.settled_tokens), 0) as settled_tokens,
    coalesce(sum(a.reserved_microusd) filter (where a.state = 'held'), 0) as held_microusd,
    coalesce(sum(a.reserved_tokens) filter (where a.state = 'held'), 0) as held_tokens,
    coalesce(sum(a.reserved_microusd) filter (where a.state = 'unknown'), 0) as unknown_microusd,
    coalesce(sum(a.reserved_tokens) filter (where a.state = 'unknown'), 0) as unknown_tokens
from attempts a join calls c on c.id = a.call join runs r on r.id = a.run left join contexts x on x.id = c.context
where r.tenant = %(tenant)s
    and (%(since)s::timestamptz is null or a.started_at >= %(since)s)
    and (%(until)s::timestamptz is null or a.started_at < %(until)s)
group by 1, 2, 3, 4, 5;

-- name: graphs_of
-- The published bytes under these digests.
select digest, bytes from graphs where digest = any(%(digests)s);
