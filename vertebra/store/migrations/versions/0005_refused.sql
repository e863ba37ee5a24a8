alter table commands add column refused_at timestamptz;
grant update (refused_at) on commands to vertebra_gate, vertebra_keeper;

create index commands_unread on commands (run, at) where consumed_at is null;
create index decisions_unread on decisions (approval, at) where consumed_at is null;

-- No genuine row is as large.
alter table commands add constraint commands_size_ck check (
    coalesce(octet_length(arguments), 0) <= 4194304
    and octet_length(statement) + octet_length(signature) + octet_length(person) + octet_length(verb)
        + coalesce(octet_length(node), 0) + coalesce(octet_length(reason), 0) + coalesce(octet_length(arguments_digest), 0)
        <= 65536
);
alter table decisions add constraint decisions_size_ck check (
    coalesce(octet_length(arguments), 0) <= 4194304
    and octet_length(statement) + octet_length(signature) + octet_length(person) + octet_length(digest)
        + coalesce(octet_length(reason), 0) + coalesce(octet_length(arguments_digest), 0)
        <= 65536
);
