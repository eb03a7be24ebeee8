//! Rebuilds a command's bytes from definition, state and payloads: live sending, the sweep and recovery all
//! go through here, so that every attempt of a round carries the same input.
