-- What the audit is asked by, and how far spans of each run were sent.

-- An entry without its content. The body is what was hashed; this is its index, and as a generated column it cannot be
-- edited apart from it. Text has no NUL here: jsonb cannot hold one. A body that is no JSON has no facts.
create function vertebra_facts(p_body bytea) returns jsonb language plpgsql immutable set search_path = pg_catalog, public as $$
declare
    v_text text;
    v_left_out constant text[] :=
        '{context,error,input,output,policy_version,prev_hash,region,seq,stream,tool_pin,v}';
begin
    v_text := convert_from(p_body, 'UTF8');
    if strpos(v_text, '\u0000') > 0 then
        v_text := regexp_replace(v_text, '(?<!\\)((?:\\\\)*)\\u0000', '\1', 'g');
    end if;
    return jsonb_strip_nulls(v_text::jsonb - v_left_out);
exception when others then
    return null;
end $$;

revoke execute on function vertebra_facts(bytea) from public;

alter table audit add column facts jsonb generated always as (vertebra_facts(body)) stored;

create index audit_newest on audit (tenant, (facts ->> 'time'), stream, seq);
create index audit_operation on audit (tenant, (facts ->> 'operation'), (facts ->> 'time'));
create index audit_agent on audit (tenant, (facts ->> 'agent'), (facts ->> 'time')) where facts ->> 'agent' is not null;

-- How far each run was told to a sink: every entry up to `seq`. A run is due again when it goes on.
create table exports (
    tenant text default 'default' not null,
    sink text not null,
    run text not null,
    seq bigint default '0' not null,
    due_at timestamp with time zone default now() not null,
    tries integer default '0' not null,
    done_at timestamp with time zone,
    constraint exports_pk primary key (sink, run),
    constraint exports_sink_known_ck check (sink in ('spans')),
    constraint exports_run_fk foreign key (run) references runs (id)
);

create index exports_due on exports (sink, due_at) where done_at is null;

insert into exports (tenant, sink, run) select tenant, 'spans', id from runs;

create function vertebra_to_export() returns trigger language plpgsql security definer set search_path = pg_catalog, public as $$
begin
    insert into public.exports (tenant, sink, run) values (new.tenant, 'spans', new.id)
    on conflict (sink, run) do update set done_at = null, due_at = now(), tries = 0;
    return null;
end $$;

revoke execute on function vertebra_to_export() from public;

create trigger runs_to_export after insert or update of ended_at on runs
for each row execute function vertebra_to_export();

grant select on exports to vertebra_gate, vertebra_api, vertebra_keeper, vertebra_reader;
grant update (seq, due_at, tries, done_at) on exports to vertebra_gate, vertebra_keeper;
