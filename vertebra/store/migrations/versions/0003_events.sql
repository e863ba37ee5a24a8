alter table waits drop constraint waits_kind_known_ck;
alter table waits add constraint waits_kind_known_ck check (kind in ('approval', 'top_up', 'renewal', 'blocked', 'event'));
