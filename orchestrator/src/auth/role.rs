//! Roles, and sets of them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a caller is to Amends.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    ToSchema,
    clap::ValueEnum,
)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Starts sagas by their triggers, and sees only their own
    Customer,
    /// Signals sagas, and sees none: for workers that tell of what has come from outside
    Worker,
    /// Reads everything, personal data masked
    Viewer,
    /// Reads everything and acts on sagas
    Operator,
    /// Reads everything, personal data masked, and publishes definitions
    Author,
    /// Everything, API keys and retention too
    Admin,
}

impl Role {
    /// Every role, from the least to the most.
    pub const ALL: [Self; 6] =
        [Self::Customer, Self::Worker, Self::Viewer, Self::Operator, Self::Author, Self::Admin];

    /// The role as the API spells it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Customer => "customer",
            Self::Worker => "worker",
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Author => "author",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for Role {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|role| role.word() == text).ok_or(())
    }
}

/// A set of roles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Roles(u8);

impl Roles {
    /// Nobody.
    pub const NONE: Self = Self(0);
    /// Who acts on sagas.
    pub const ACT: Self = Self::of(&[Role::Operator, Role::Admin]);
    /// Who tells sagas of what has come from outside.
    pub const SIGNAL: Self = Self::of(&[Role::Worker, Role::Operator, Role::Admin]);
    /// Who publishes definitions.
    pub const PUBLISH: Self = Self::of(&[Role::Author, Role::Admin]);
    /// Who administers.
    pub const ADMIN: Self = Self::of(&[Role::Admin]);
    /// Who reads everything.
    pub const READ: Self = Self::of(&[Role::Viewer, Role::Operator, Role::Author, Role::Admin]);
    /// Everybody who is signed in.
    pub const ALL: Self = Self::of(&Role::ALL);

    /// These roles.
    pub const fn of(roles: &[Role]) -> Self {
        let (mut bits, mut at) = (0, 0);
        while at < roles.len() {
            bits |= 1 << roles[at] as u8;
            at += 1;
        }
        Self(bits)
    }

    /// Whether the role is among them.
    pub const fn has(self, role: Role) -> bool {
        self.0 & (1 << role as u8) != 0
    }

    /// Whether any role is in both.
    pub const fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// The roles, from the least to the most.
    pub fn iter(self) -> impl Iterator<Item = Role> {
        Role::ALL.into_iter().filter(move |role| self.has(*role))
    }

    /// The roles as the API spells them.
    pub fn words(self) -> Vec<String> {
        self.iter().map(|role| role.word().to_owned()).collect()
    }
}

impl FromIterator<Role> for Roles {
    fn from_iter<T: IntoIterator<Item = Role>>(roles: T) -> Self {
        Self(roles.into_iter().fold(0, |bits, role| bits | (1 << role as u8)))
    }
}
