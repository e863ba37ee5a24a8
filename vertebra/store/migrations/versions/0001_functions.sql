-- The only way into the audit: entries are appended at the head that the writer says it saw, or not at all.

create function vertebra_first_hash(stream text) returns bytea language sql immutable parallel safe
return sha256(convert_to('vertebra/1/' || stream, 'UTF8'));

-- A run opens its own stream: its head cannot be chosen by who inserts it.
create function vertebra_open_stream() returns trigger language plpgsql set search_path = pg_catalog, public as $$
begin
    new.audit_seq := 0;
    new.audit_hash := public.vertebra_first_hash(new.id);
    return new;
end $$;

create trigger runs_open_stream before insert on runs for each row execute function vertebra_open_stream();

-- Which version is current is told by when it was published: by this clock, and only with a statement of its own.
create function vertebra_published_now() returns trigger language plpgsql set search_path = pg_catalog, public as $$
begin
    new.at := clock_timestamp();
    return new;
end $$;

create trigger graphs_published_now before insert or update of statement on graphs
for each row execute function vertebra_published_now();

-- Insert the rows of one append; every stored hash is the SHA-256 of its stored body.
create function vertebra_write_entries(
    p_tenant text, p_stream text, p_seq bigint, p_prev bytea, p_bodies bytea[], p_hashes bytea[], p_macs bytea[], p_key_id text
) returns void language plpgsql set search_path = pg_catalog, public as $$
declare
    v_prev bytea := p_prev;
begin
    for i in 1 .. array_length(p_bodies, 1) loop
        if sha256(p_bodies[i]) <> p_hashes[i] then
            raise exception 'entry % of stream % does not have the hash of its body', p_seq + i, p_stream using errcode = 'VT002';
        end if;
        insert into audit (tenant, stream, seq, body, prev_hash, hash, mac, key_id)
        values (p_tenant, p_stream, p_seq + i, p_bodies[i], v_prev, p_hashes[i], p_macs[i], p_key_id);
        v_prev := p_hashes[i];
    end loop;
end $$;

-- All arrays of an append have one length, at least one.
create function vertebra_check_arrays(p_stream text, p_bodies bytea[], p_hashes bytea[], p_macs bytea[]) returns int
language plpgsql immutable set search_path = pg_catalog, public as $$
declare
    n int := coalesce(array_length(p_bodies, 1), 0);
begin
    if n = 0 or n <> coalesce(array_length(p_hashes, 1), 0) or n <> coalesce(array_length(p_macs, 1), 0) then
        raise exception 'an append to stream % needs as many hashes and macs as bodies, and at least one', p_stream
            using errcode = 'VT002';
    end if;
    return n;
end $$;

-- Append to a run's stream. p_seq and p_prev are the head as the writer saw it; the run's row is locked by the update.
create function vertebra_append_run(
    p_run text, p_seq bigint, p_prev bytea, p_bodies bytea[], p_hashes bytea[], p_macs bytea[], p_key_id text
) returns bigint language plpgsql security definer set search_path = pg_catalog, public as $$
declare
    n int := public.vertebra_check_arrays(p_run, p_bodies, p_hashes, p_macs);
    v_tenant text;
begin
    update runs set audit_seq = p_seq + n, audit_hash = p_hashes[n]
    where id = p_run and audit_seq = p_seq and audit_hash = p_prev
    returning tenant into v_tenant;
    if not found then
        raise exception 'stream % is not at sequence % with that hash', p_run, p_seq using errcode = 'VT001';
    end if;
    perform public.vertebra_write_entries(v_tenant, p_run, p_seq, p_prev, p_bodies, p_hashes, p_macs, p_key_id);
    return p_seq + n;
end $$;

-- The head of a stream that is no run's, locked until the transaction ends; opened if it is new.
create function vertebra_stream_head(p_stream text, p_tenant text, out seq bigint, out hash bytea)
language plpgsql security definer set search_path = pg_catalog, public as $$
begin
    if p_stream <> 'admin/' || p_tenant then
        raise exception 'stream % is not admin/%', p_stream, p_tenant using errcode = 'VT002';
    end if;
    insert into streams (name, tenant, hash) values (p_stream, p_tenant, public.vertebra_first_hash(p_stream))
    on conflict (name) do nothing;
    select s.seq, s.hash into seq, hash from streams s where s.name = p_stream for update;
end $$;

-- Append to a stream that is no run's (admin/<tenant>), under the same rule.
create function vertebra_append_stream(
    p_stream text, p_seq bigint, p_prev bytea, p_bodies bytea[], p_hashes bytea[], p_macs bytea[], p_key_id text
) returns bigint language plpgsql security definer set search_path = pg_catalog, public as $$
declare
    n int := public.vertebra_check_arrays(p_stream, p_bodies, p_hashes, p_macs);
    v_tenant text;
begin
    update streams set seq = p_seq + n, hash = p_hashes[n]
    where name = p_stream and seq = p_seq and hash = p_prev
    returning tenant into v_tenant;
    if not found then
        raise exception 'stream % is not at sequence % with that hash', p_stream, p_seq using errcode = 'VT001';
    end if;
    perform public.vertebra_write_entries(v_tenant, p_stream, p_seq, p_prev, p_bodies, p_hashes, p_macs, p_key_id);
    return p_seq + n;
end $$;

-- Counters of settled calls by scope ('run', 'agent/NAME', 'node/PATH'): count, sum, max and last of each figure.
create function vertebra_count(p_counters jsonb, p_scopes text[], p_figures jsonb) returns jsonb
language plpgsql immutable set search_path = pg_catalog, public as $$
declare
    v_scope text;
    v_scoped jsonb;
    v_old jsonb;
    v_name text;
    v_value bigint;
begin
    foreach v_scope in array p_scopes loop
        v_scoped := coalesce(p_counters -> v_scope, '{}');
        for v_name, v_value in select key, value::bigint from jsonb_each_text(p_figures) loop
            v_old := v_scoped -> v_name;
            v_scoped := v_scoped || jsonb_build_object(v_name, jsonb_build_object(
                'count', coalesce((v_old ->> 'count')::bigint, 0) + 1,
                'sum', coalesce((v_old ->> 'sum')::bigint, 0) + v_value,
                'max', greatest(coalesce((v_old ->> 'max')::bigint, v_value), v_value),
                'last', v_value));
        end loop;
        p_counters := p_counters || jsonb_build_object(v_scope, v_scoped);
    end loop;
    return p_counters;
end $$;
