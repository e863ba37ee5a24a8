create table counters (
    tenant text not null default 'default',
    run text not null,
    scope text not null,
    figures jsonb not null,
    constraint counters_pk primary key (run, scope),
    constraint counters_run_fk foreign key (run) references runs (id)
) with (fillfactor = 70);

insert into counters (tenant, run, scope, figures)
select r.tenant, r.id, c.key, c.value from runs r cross join lateral jsonb_each(r.counters) c where c.key <> 'run';

update runs set counters = jsonb_build_object('run', counters -> 'run') where counters ? 'run';

revoke all on counters from public;
grant select on counters to vertebra_gate, vertebra_api, vertebra_keeper, vertebra_reader;
grant insert, update (figures) on counters to vertebra_gate, vertebra_keeper;
