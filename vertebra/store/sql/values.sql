-- name: put_artifact
-- Create-only: the same bytes again change nothing.
insert into artifacts (tenant, sha256, size, media_type, bytes, place)
values (%(tenant)s, %(sha256)s, %(size)s, %(media_type)s, %(bytes)s, %(place)s)
on conflict do nothing;

-- name: get_artifact
-- One value, inline or by its place.
select sha256, size, media_type, bytes, place from artifacts where tenant = %(tenant)s and sha256 = %(sha256)s;

-- name: put_text
-- Prompts, tool definitions, policies, price tables: pinned by digest, create-only.
insert into texts (tenant, digest, kind, bytes) values (%(tenant)s, %(digest)s, %(kind)s, %(bytes)s)
on conflict do nothing;

-- name: get_texts
-- Several texts in one trip.
select digest, kind, bytes from texts where tenant = %(tenant)s and digest = any(%(digests)s);
