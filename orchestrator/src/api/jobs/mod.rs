//! Bulk jobs: previewed, made, steered, and what became of each saga.
//!
//! | file | what |
//! |---|---|
//! | [`making`] | the preview, and making one |
//! | [`reading`] | lists, one job, its sagas |
//! | [`steering`] | pause, resume, cancel, approve |
//! | [`views`] | how the API shows them |

use super::problem::Problem;

pub mod making;
pub mod reading;
pub mod steering;
pub mod views;

fn none() -> Problem {
    Problem::not_found("There is no such job. `GET /ops/jobs` lists them.")
}
