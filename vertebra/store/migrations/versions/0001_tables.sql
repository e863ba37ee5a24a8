-- Tables and indexes of revision 0001, frozen. vertebra/store/tables.py describes the newest schema; a test compares the two.

CREATE TABLE artifacts (
    tenant TEXT DEFAULT 'default' NOT NULL,
    sha256 TEXT NOT NULL,
    size BIGINT NOT NULL,
    media_type TEXT NOT NULL,
    bytes BYTEA,
    place TEXT,
    at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT artifacts_pk PRIMARY KEY (tenant, sha256),
    CONSTRAINT artifacts_one_place_ck CHECK ((bytes is null) <> (place is null))
);

CREATE TABLE audit (
    tenant TEXT DEFAULT 'default' NOT NULL,
    stream TEXT NOT NULL,
    seq BIGINT NOT NULL,
    body BYTEA NOT NULL,
    prev_hash BYTEA NOT NULL,
    hash BYTEA NOT NULL,
    mac BYTEA NOT NULL,
    key_id TEXT NOT NULL,
    CONSTRAINT audit_pk PRIMARY KEY (stream, seq)
);

CREATE TABLE graphs (
    tenant TEXT DEFAULT 'default' NOT NULL,
    name TEXT NOT NULL,
    version TEXT NOT NULL,
    digest TEXT NOT NULL,
    bytes BYTEA NOT NULL,
    engine INTEGER NOT NULL,
    principal TEXT,
    draft BOOLEAN DEFAULT false NOT NULL,
    published_by TEXT NOT NULL,
    key TEXT NOT NULL,
    nonce TEXT NOT NULL,
    statement BYTEA NOT NULL,
    signature BYTEA NOT NULL,
    at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT graphs_pk PRIMARY KEY (name, version),
    CONSTRAINT graphs_digest_uq UNIQUE (digest),
    CONSTRAINT graphs_key_nonce_uq UNIQUE (key, nonce)
);

CREATE INDEX graphs_newest ON graphs (name, at);

CREATE TABLE outbox (
    tenant TEXT DEFAULT 'default' NOT NULL,
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    kind TEXT NOT NULL,
    run TEXT,
    ref TEXT NOT NULL,
    due_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    tries INTEGER DEFAULT '0' NOT NULL,
    done_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT outbox_pk PRIMARY KEY (id),
    CONSTRAINT outbox_kind_run_ref_uq UNIQUE NULLS NOT DISTINCT (kind, run, ref),
    CONSTRAINT outbox_kind_known_ck CHECK (kind in ('wake', 'resume', 'audit', 'notify'))
);

CREATE INDEX outbox_due ON outbox (due_at) WHERE done_at is null;

CREATE TABLE people (
    tenant TEXT DEFAULT 'default' NOT NULL,
    name TEXT NOT NULL,
    public_key BYTEA,
    key TEXT,
    roles TEXT[] DEFAULT '{}' NOT NULL,
    service BOOLEAN DEFAULT false NOT NULL,
    signer BOOLEAN DEFAULT false NOT NULL,
    enrolled_by TEXT NOT NULL,
    enrolled_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    revoked_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT people_pk PRIMARY KEY (name),
    CONSTRAINT people_key_uq UNIQUE (key)
);

CREATE TABLE revocations (
    tenant TEXT DEFAULT 'default' NOT NULL,
    id TEXT NOT NULL,
    kind TEXT NOT NULL,
    target TEXT NOT NULL,
    reason TEXT NOT NULL,
    person TEXT NOT NULL,
    key TEXT NOT NULL,
    nonce TEXT NOT NULL,
    statement BYTEA NOT NULL,
    signature BYTEA NOT NULL,
    at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    lifted_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT revocations_pk PRIMARY KEY (id),
    CONSTRAINT revocations_key_nonce_uq UNIQUE (key, nonce),
    CONSTRAINT revocations_kind_known_ck CHECK (kind in ('context', 'person', 'agent', 'tool', 'model', 'vendor', 'deny_rule'))
);

CREATE INDEX revocations_standing ON revocations (kind, target) WHERE lifted_at is null;

CREATE TABLE runs (
    tenant TEXT DEFAULT 'default' NOT NULL,
    id TEXT NOT NULL,
    chain TEXT NOT NULL,
    execution_id TEXT NOT NULL,
    epoch INTEGER DEFAULT '0' NOT NULL,
    resume_command TEXT,
    graph TEXT NOT NULL,
    version TEXT NOT NULL,
    graph_digest TEXT NOT NULL,
    base_run TEXT,
    base_node TEXT,
    parent TEXT,
    correlation_id TEXT NOT NULL,
    project_id TEXT,
    principal TEXT NOT NULL,
    started_by TEXT NOT NULL,
    state TEXT DEFAULT 'running' NOT NULL,
    input BYTEA,
    input_artifact TEXT,
    input_digest TEXT NOT NULL,
    output BYTEA,
    output_artifact TEXT,
    error BYTEA,
    audit_seq BIGINT DEFAULT '0' NOT NULL,
    audit_hash BYTEA NOT NULL,
    limit_microusd BIGINT,
    limit_tokens BIGINT,
    on_breach TEXT DEFAULT 'reject' NOT NULL,
    spent_microusd BIGINT DEFAULT '0' NOT NULL,
    spent_tokens BIGINT DEFAULT '0' NOT NULL,
    held_microusd BIGINT DEFAULT '0' NOT NULL,
    held_tokens BIGINT DEFAULT '0' NOT NULL,
    counters JSONB DEFAULT '{}' NOT NULL,
    lease JSONB,
    touched_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    started_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    ended_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT runs_pk PRIMARY KEY (id),
    CONSTRAINT runs_state_known_ck CHECK (state in ('running', 'awaiting_human', 'blocked', 'over_budget', 'completed', 'aborted', 'cancelled', 'timed_out', 'terminated', 'failed')),
    CONSTRAINT runs_on_breach_known_ck CHECK (on_breach in ('reject', 'pause', 'abort')),
    CONSTRAINT runs_held_not_negative_ck CHECK (held_microusd >= 0 and held_tokens >= 0),
    CONSTRAINT runs_spent_not_negative_ck CHECK (spent_microusd >= 0 and spent_tokens >= 0)
) with (fillfactor = 70);

CREATE INDEX runs_correlation ON runs (correlation_id);

CREATE INDEX runs_newest ON runs (tenant, started_at);

CREATE INDEX runs_open ON runs (tenant, started_at) WHERE ended_at is null;

CREATE TABLE streams (
    tenant TEXT DEFAULT 'default' NOT NULL,
    name TEXT NOT NULL,
    seq BIGINT DEFAULT '0' NOT NULL,
    hash BYTEA NOT NULL,
    CONSTRAINT streams_pk PRIMARY KEY (name)
) with (fillfactor = 70);

CREATE TABLE texts (
    tenant TEXT DEFAULT 'default' NOT NULL,
    digest TEXT NOT NULL,
    kind TEXT NOT NULL,
    bytes BYTEA NOT NULL,
    at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT texts_pk PRIMARY KEY (tenant, digest)
);

CREATE TABLE approvals (
    tenant TEXT DEFAULT 'default' NOT NULL,
    id TEXT NOT NULL,
    run TEXT NOT NULL,
    node TEXT NOT NULL,
    visit INTEGER NOT NULL,
    activity_id TEXT NOT NULL,
    round INTEGER NOT NULL,
    kind TEXT NOT NULL,
    subject TEXT DEFAULT '' NOT NULL,
    request BYTEA NOT NULL,
    digest TEXT NOT NULL,
    assign TEXT[] DEFAULT '{}' NOT NULL,
    backup TEXT[] DEFAULT '{}' NOT NULL,
    escalate_after TIMESTAMP WITH TIME ZONE,
    remind TIMESTAMP WITH TIME ZONE[] DEFAULT '{}' NOT NULL,
    reminded INTEGER DEFAULT '0' NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE,
    state TEXT DEFAULT 'pending' NOT NULL,
    used_by TEXT,
    at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    decided_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT approvals_pk PRIMARY KEY (id),
    CONSTRAINT approvals_run_activity_id_kind_subject_round_uq UNIQUE (run, activity_id, kind, subject, round),
    CONSTRAINT approvals_state_known_ck CHECK (state in ('pending', 'approved', 'edited', 'denied', 'expired', 'withdrawn')),
    CONSTRAINT approvals_run_fk FOREIGN KEY(run) REFERENCES runs (id)
);

CREATE INDEX approvals_assign ON approvals USING gin (assign) WHERE state = 'pending';

CREATE INDEX approvals_pending ON approvals (tenant, at) WHERE state = 'pending';

CREATE TABLE calls (
    tenant TEXT DEFAULT 'default' NOT NULL,
    id TEXT NOT NULL,
    run TEXT NOT NULL,
    activity_id TEXT NOT NULL,
    call_digest TEXT NOT NULL,
    asked_digest TEXT,
    kind TEXT NOT NULL,
    effect TEXT NOT NULL,
    node TEXT NOT NULL,
    visit INTEGER NOT NULL,
    context TEXT NOT NULL,
    status TEXT NOT NULL,
    result BYTEA,
    result_artifact TEXT,
    error BYTEA,
    opened_by TEXT,
    at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    ended_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT calls_pk PRIMARY KEY (id),
    CONSTRAINT calls_run_activity_id_call_digest_uq UNIQUE (run, activity_id, call_digest),
    CONSTRAINT calls_status_known_ck CHECK (status in ('intended', 'done', 'failed', 'open', 'unknown', 'released')),
    CONSTRAINT calls_run_fk FOREIGN KEY(run) REFERENCES runs (id)
) with (fillfactor = 80);

CREATE TABLE commands (
    tenant TEXT DEFAULT 'default' NOT NULL,
    id TEXT NOT NULL,
    run TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    node TEXT,
    visit INTEGER,
    verb TEXT NOT NULL,
    arguments BYTEA,
    arguments_digest TEXT,
    reason TEXT,
    person TEXT NOT NULL,
    key TEXT NOT NULL,
    nonce TEXT NOT NULL,
    statement BYTEA NOT NULL,
    signature BYTEA NOT NULL,
    at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE,
    consumed_at TIMESTAMP WITH TIME ZONE,
    applied_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT commands_pk PRIMARY KEY (id),
    CONSTRAINT commands_key_nonce_uq UNIQUE (key, nonce),
    CONSTRAINT commands_run_fk FOREIGN KEY(run) REFERENCES runs (id)
);

CREATE INDEX commands_run ON commands (run, at);

CREATE TABLE contexts (
    tenant TEXT DEFAULT 'default' NOT NULL,
    id TEXT NOT NULL,
    parent TEXT,
    run TEXT NOT NULL,
    agent TEXT NOT NULL,
    "grant" BYTEA NOT NULL,
    depth INTEGER NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE,
    key_id TEXT NOT NULL,
    seal BYTEA NOT NULL,
    at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT contexts_pk PRIMARY KEY (id),
    CONSTRAINT contexts_parent_fk FOREIGN KEY(parent) REFERENCES contexts (id),
    CONSTRAINT contexts_run_fk FOREIGN KEY(run) REFERENCES runs (id)
);

CREATE INDEX contexts_run ON contexts (run);

CREATE TABLE envelopes (
    tenant TEXT DEFAULT 'default' NOT NULL,
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    run TEXT NOT NULL,
    node TEXT NOT NULL,
    visit INTEGER NOT NULL,
    kind TEXT NOT NULL,
    body BYTEA NOT NULL,
    digest TEXT NOT NULL,
    at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT envelopes_pk PRIMARY KEY (id),
    CONSTRAINT envelopes_run_node_visit_kind_digest_uq UNIQUE (run, node, visit, kind, digest),
    CONSTRAINT envelopes_kind_known_ck CHECK (kind in ('task', 'plan')),
    CONSTRAINT envelopes_run_fk FOREIGN KEY(run) REFERENCES runs (id)
);

CREATE TABLE waits (
    tenant TEXT DEFAULT 'default' NOT NULL,
    run TEXT NOT NULL,
    node TEXT NOT NULL,
    visit INTEGER NOT NULL,
    kind TEXT NOT NULL,
    ref TEXT DEFAULT '' NOT NULL,
    round INTEGER DEFAULT '1' NOT NULL,
    error BYTEA,
    since TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    until TIMESTAMP WITH TIME ZONE,
    CONSTRAINT waits_pk PRIMARY KEY (run, node, visit, kind, ref),
    CONSTRAINT waits_kind_known_ck CHECK (kind in ('approval', 'top_up', 'renewal', 'blocked')),
    CONSTRAINT waits_run_fk FOREIGN KEY(run) REFERENCES runs (id)
);

CREATE TABLE attempts (
    tenant TEXT DEFAULT 'default' NOT NULL,
    call TEXT NOT NULL,
    n INTEGER NOT NULL,
    run TEXT NOT NULL,
    execution_id TEXT NOT NULL,
    worker TEXT NOT NULL,
    state TEXT DEFAULT 'held' NOT NULL,
    class TEXT,
    counts BOOLEAN DEFAULT false NOT NULL,
    reserved_microusd BIGINT DEFAULT '0' NOT NULL,
    reserved_tokens BIGINT DEFAULT '0' NOT NULL,
    settled_microusd BIGINT,
    settled_tokens BIGINT,
    estimated BOOLEAN DEFAULT false NOT NULL,
    price_digest TEXT,
    raw_usage BYTEA,
    opened_by TEXT,
    started_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    ended_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT attempts_pk PRIMARY KEY (call, n),
    CONSTRAINT attempts_state_known_ck CHECK (state in ('held', 'settled', 'released', 'unknown')),
    CONSTRAINT attempts_call_fk FOREIGN KEY(call) REFERENCES calls (id),
    CONSTRAINT attempts_run_fk FOREIGN KEY(run) REFERENCES runs (id)
) with (fillfactor = 80);

CREATE INDEX attempts_held ON attempts (run) WHERE state in ('held', 'unknown');

CREATE TABLE decisions (
    tenant TEXT DEFAULT 'default' NOT NULL,
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    approval TEXT NOT NULL,
    verb TEXT NOT NULL,
    arguments BYTEA,
    arguments_digest TEXT,
    digest TEXT NOT NULL,
    reason TEXT,
    person TEXT NOT NULL,
    key TEXT NOT NULL,
    nonce TEXT NOT NULL,
    statement BYTEA NOT NULL,
    signature BYTEA NOT NULL,
    at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE,
    consumed_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT decisions_pk PRIMARY KEY (id),
    CONSTRAINT decisions_key_nonce_uq UNIQUE (key, nonce),
    CONSTRAINT decisions_verb_known_ck CHECK (verb in ('approve', 'edit', 'deny')),
    CONSTRAINT decisions_approval_fk FOREIGN KEY(approval) REFERENCES approvals (id)
);

CREATE INDEX decisions_approval ON decisions (approval);

CREATE TABLE renewals (
    tenant TEXT DEFAULT 'default' NOT NULL,
    command TEXT NOT NULL,
    context TEXT NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
    at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT renewals_pk PRIMARY KEY (command),
    CONSTRAINT renewals_command_fk FOREIGN KEY(command) REFERENCES commands (id),
    CONSTRAINT renewals_context_fk FOREIGN KEY(context) REFERENCES contexts (id)
);

CREATE INDEX renewals_context ON renewals (context);
