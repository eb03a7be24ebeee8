-- Since when the oldest saga stands at a step.
create index projection_pile_idx on projection (definition, step, direction, since_ms) where status < 2;
