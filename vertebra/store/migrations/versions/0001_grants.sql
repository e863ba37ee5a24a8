-- What each role may do, and nothing else. Only the owner may change or delete audit, decisions, people and revocations.

revoke all on all tables in schema public from public;
revoke execute on all functions in schema public from public;
grant select on all tables in schema public to vertebra_gate, vertebra_api, vertebra_keeper, vertebra_reader;
grant execute on function vertebra_first_hash(text) to vertebra_gate, vertebra_api, vertebra_keeper, vertebra_reader;

-- Gate workers: the data of runs. Not the audit head, not what was published, decided or enrolled.
grant insert (
    id, tenant, chain, execution_id, epoch, graph, version, graph_digest, base_run, base_node, parent, correlation_id,
    project_id, principal, started_by, state, input, input_artifact, input_digest, limit_microusd, limit_tokens, on_breach, lease
) on runs to vertebra_gate;
grant update (
    chain, execution_id, epoch, resume_command, state, output, output_artifact, error, limit_microusd, limit_tokens,
    spent_microusd, spent_tokens, held_microusd, held_tokens, counters, lease, touched_at, ended_at
) on runs to vertebra_gate, vertebra_keeper;
grant insert on artifacts, contexts, renewals, envelopes, outbox to vertebra_gate;
grant insert, update on calls, attempts to vertebra_gate;
grant insert, update, delete on waits to vertebra_gate;
grant insert on approvals to vertebra_gate;
grant update (state, used_by, reminded, decided_at) on approvals to vertebra_gate;
grant update (consumed_at) on decisions to vertebra_gate, vertebra_keeper;
grant update (consumed_at, applied_at) on commands to vertebra_gate, vertebra_keeper;
grant update (due_at, tries, done_at) on outbox to vertebra_gate, vertebra_keeper;

-- The keeper: ended runs, holds, orphans, the outbox.
grant update (state, reminded, decided_at) on approvals to vertebra_keeper;
grant update (status, result, result_artifact, error, ended_at) on calls to vertebra_keeper;
grant update (state, class, counts, settled_microusd, settled_tokens, estimated, raw_usage, ended_at) on attempts to vertebra_keeper;
grant delete on waits to vertebra_keeper;
grant insert on outbox, envelopes to vertebra_keeper;

-- The API and the CLI: what people sign, and what they publish.
grant insert on graphs, texts, artifacts, outbox to vertebra_api;
-- Not the times: expiry and escalation are judged by the database's clock, and what was consumed is told by who did it.
grant insert (
    tenant, approval, verb, arguments, arguments_digest, digest, reason, person, key, nonce, statement, signature, expires_at
) on decisions to vertebra_api;
grant insert (
    tenant, id, run, epoch, node, visit, verb, arguments, arguments_digest, reason, person, key, nonce, statement, signature,
    expires_at
) on commands to vertebra_api;
grant insert (
    tenant, id, kind, target, reason, person, key, nonce, statement, signature
) on revocations to vertebra_api;
-- Not the time: a version becomes current with a new signature only. A revocation that nobody signed forbids, which is the
-- safe side; it is told as refused, and only the owner may lift one.
grant update (published_by, key, nonce, statement, signature) on graphs to vertebra_api;
grant update (due_at) on outbox to vertebra_api;

grant execute on function vertebra_append_run(text, bigint, bytea, bytea[], bytea[], bytea[], text) to vertebra_gate, vertebra_keeper;
grant execute on function vertebra_append_stream(text, bigint, bytea, bytea[], bytea[], bytea[], text) to vertebra_gate, vertebra_keeper;
grant execute on function vertebra_stream_head(text, text) to vertebra_gate, vertebra_keeper;
grant execute on function vertebra_count(jsonb, text[], jsonb) to vertebra_gate, vertebra_keeper;
