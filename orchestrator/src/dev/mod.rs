//! `amends dev`.
