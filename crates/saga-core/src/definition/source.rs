//! The language of definitions.
