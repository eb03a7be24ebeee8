-- What the vendor's webhooks about a payment carry, from its answer to our own call. Of older rows it is asked.
alter table amends_payment.payment add column secret text;
