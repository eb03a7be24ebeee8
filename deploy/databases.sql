-- The databases of deploy/compose.yaml, each owned by a role of the same name that reaches no other.
-- Run once, by the Postgres image, when its volume is empty.
\getenv password AMENDS_DATABASE_PASSWORD

create role amends login password :'password';
create database amends owner amends;
revoke all on database amends from public;

create role amends_order login password :'password';
create database amends_order owner amends_order;
revoke all on database amends_order from public;

create role amends_stock login password :'password';
create database amends_stock owner amends_stock;
revoke all on database amends_stock from public;

create role amends_payment login password :'password';
create database amends_payment owner amends_payment;
revoke all on database amends_payment from public;

create role amends_notify login password :'password';
create database amends_notify owner amends_notify;
revoke all on database amends_notify from public;

create role amends_http login password :'password';
create database amends_http owner amends_http;
revoke all on database amends_http from public;
