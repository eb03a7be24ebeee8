-- How a saga stood once a piece of mail had been taken in: the audit shows it beside what came of an action.

alter table mailbox add column stands text;
