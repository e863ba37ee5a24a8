-- name: append_run
-- Append to a run's stream at the head the writer saw. Refused (VT001) if the head has moved.
select vertebra_append_run(
    %(stream)s, %(seq)s, %(prev_hash)s, %(bodies)s::bytea[], %(hashes)s::bytea[], %(macs)s::bytea[], %(key_id)s
) as seq;

-- name: append_stream
-- The same for a stream that is no run's.
select vertebra_append_stream(
    %(stream)s, %(seq)s, %(prev_hash)s, %(bodies)s::bytea[], %(hashes)s::bytea[], %(macs)s::bytea[], %(key_id)s
) as seq;

-- name: stream_head
-- The head of admin/<tenant>, locked until the transaction ends; the stream is opened if it is new.
select seq, hash from vertebra_stream_head(%(stream)s, %(tenant)s);

-- name: entries
-- One stream in order, from a sequence on.
select stream, seq, body, prev_hash, hash, mac, key_id from audit
where stream = %(stream)s and seq > %(after)s
order by seq limit %(limit)s;

-- name: all_entries
-- All streams of a tenant, each in order; read through a cursor, it may be long.
select stream, seq, body, prev_hash, hash, mac, key_id from audit
where tenant = %(tenant)s
order by stream, seq;

-- name: heads
-- The head that each stream must end with, as the rows outside the audit table say it.
select id as stream, audit_seq as seq, audit_hash as hash from runs where tenant = %(tenant)s
union all
select name, seq, hash from streams where tenant = %(tenant)s
order by stream;

-- name: head_of
-- The same for one stream.
select id as stream, audit_seq as seq, audit_hash as hash from runs where id = %(stream)s
union all
select name, seq, hash from streams where name = %(stream)s;

-- name: trace
-- Every entry of a correlation id: whole streams of its runs, and what mentions it in the tenant's own stream.
select a.stream, a.seq, a.body, a.prev_hash, a.hash, a.mac, a.key_id from audit a join runs r on r.id = a.stream
where r.correlation_id = %(correlation_id)s and r.tenant = %(tenant)s
union all
select a.stream, a.seq, a.body, a.prev_hash, a.hash, a.mac, a.key_id from audit a
where a.stream = 'admin/' || %(tenant)s and position(convert_to(%(quoted)s, 'UTF8') in a.body) > 0;

-- name: query
-- Entries that fit every filter that is given, newest first, from a place on. The plan is made for the filters of this call:
-- what is null falls away before an index is chosen.
select stream, seq, body, prev_hash, hash, mac, key_id from audit
where tenant = %(tenant)s
    and (%(since)s::text is null or facts ->> 'time' >= %(since)s)
    and (%(until)s::text is null or facts ->> 'time' < %(until)s)
    and (%(operation)s::text is null or facts ->> 'operation' = %(operation)s)
    and (%(agent)s::text is null or facts ->> 'agent' = %(agent)s)
    and (%(node)s::text is null or facts ->> 'node' = %(node)s)
    and (%(success)s::text is null or facts ->> 'success' = %(success)s)
    and (%(run)s::text is null or (stream = any(array[%(run)s, %(admin)s]) and facts ->> 'run' = %(run)s))
    and (%(correlation)s::text is null or (facts ->> 'correlation_id' = %(correlation)s and stream = any(array(
        select id from runs where correlation_id = %(correlation)s and tenant = %(tenant)s union all select %(admin)s
    ))))
    and (%(time)s::text is null or (facts ->> 'time', stream, seq) < (%(time)s, %(stream)s::text, %(seq)s::bigint))
order by facts ->> 'time' desc, stream desc, seq desc
limit %(limit)s;

-- name: aggregate
-- One number for each group of entries, the largest first.
select
    case %(group)s when 'day' then left(facts ->> 'time', 10) when 'hour' then left(facts ->> 'time', 13)
        when 'by' then facts -> 'detail' ->> 'by'
        when '' then null else facts ->> %(group)s end as grouped,
    case %(how)s when 'count' then count(*) when 'max' then max((facts ->> %(figure)s)::bigint)
        else coalesce(sum((facts ->> %(figure)s)::bigint), 0) end as value
from audit
where tenant = %(tenant)s
    and (%(since)s::text is null or facts ->> 'time' >= %(since)s)
    and (%(until)s::text is null or facts ->> 'time' < %(until)s)
    and (%(operations)s::text[] is null or facts ->> 'operation' = any(%(operations)s))
    and (%(phases)s::text[] is null or facts ->> 'phase' = any(%(phases)s))
    and (%(success)s::text is null or facts ->> 'success' = %(success)s)
    and (%(how)s = 'count' or facts ? %(figure)s)
    and facts is not null
group by 1
order by 2 desc, 1;
