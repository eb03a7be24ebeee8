//! CEL's arithmetic on JSON's numbers: whole numbers are 64-bit and overflow is an error, fractions are doubles
//! and must stay finite, and the two only meet in comparisons. One thing more than CEL: a whole number that stands in the
//! expression counts as a fraction beside one.

use std::cmp::Ordering;

use serde_json::{Number, Value};

use super::expression::kind_of;
use super::program::{Ast, Binary};

/// `int(value)`: a fraction loses what is behind its point.
pub(super) fn int_of(value: &Value) -> Option<i64> {
    match value {
        Value::String(text) => text.parse().ok(),
        Value::Number(number) if number.is_f64() => {
            let whole = number.as_f64()?.trunc();
            // 2^63 is the first double beyond i64; -2^63 is the last one within.
            #[allow(clippy::cast_possible_truncation, reason = "the range is checked")]
            (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0)
                .contains(&whole)
                .then_some(whole as i64)
        }
        Value::Number(number) => number.as_i64(),
        _ => None,
    }
}

/// Whether a whole number that stands in the expression takes the kind of what is calculated with it: `input.price * 2`
/// is meant for every price. Two numbers that both stand there are what they are; and a division of whole numbers is another one.
pub(super) fn adapts(operator: Binary, one: &Ast, other: &Ast) -> bool {
    let exact = matches!(operator, Binary::Add | Binary::Subtract | Binary::Multiply);
    let whole = matches!(one, Ast::Literal(Value::Number(number)) if !number.is_f64());
    exact && whole && !matches!(other, Ast::Literal(_))
}

/// A whole number as a fraction, if that is exactly the same number.
pub(super) fn fraction_of(value: &Value) -> Option<Number> {
    const EXACT_MAX: i64 = 1 << 53;
    let whole = value.as_i64().filter(|whole| (-EXACT_MAX..=EXACT_MAX).contains(whole))?;
    #[allow(clippy::cast_precision_loss, reason = "the range is checked")]
    Number::from_f64(whole as f64)
}

/// `-value`.
pub(super) fn negate(value: &Value) -> Result<Number, String> {
    let negated = match value {
        Value::Number(number) if number.is_f64() => number.as_f64().and_then(|it| Number::from_f64(-it)),
        Value::Number(number) => number.as_i64().and_then(i64::checked_neg).map(Number::from),
        _ => None,
    };
    negated.ok_or_else(|| format!("{} has no negative", kind_of(value)))
}

/// `a + b` and its like.
pub(super) fn calculate(operator: Binary, a: &Value, b: &Value) -> Result<Number, String> {
    let (Value::Number(left), Value::Number(right)) = (a, b) else {
        return Err(format!("{} and {} cannot be calculated with", kind_of(a), kind_of(b)));
    };
    let result = match (left.is_f64(), right.is_f64()) {
        (false, false) => {
            left.as_i64().zip(right.as_i64()).and_then(|(a, b)| whole(operator, a, b)).map(Number::from)
        }
        (true, true) => left
            .as_f64()
            .zip(right.as_f64())
            .and_then(|(a, b)| float(operator, a, b))
            .and_then(Number::from_f64),
        _ => {
            return Err(
                "a whole number and a fraction do not mix: convert one by double() or int()".to_owned()
            );
        }
    };
    result.ok_or_else(|| format!("{left} and {right} yield no number: overflow, or division by zero"))
}

fn whole(operator: Binary, a: i64, b: i64) -> Option<i64> {
    match operator {
        Binary::Add => a.checked_add(b),
        Binary::Subtract => a.checked_sub(b),
        Binary::Multiply => a.checked_mul(b),
        Binary::Divide => a.checked_div(b),
        Binary::Modulo => a.checked_rem(b),
        _ => None,
    }
}

fn float(operator: Binary, a: f64, b: f64) -> Option<f64> {
    match operator {
        Binary::Add => Some(a + b),
        Binary::Subtract => Some(a - b),
        Binary::Multiply => Some(a * b),
        Binary::Divide => Some(a / b),
        _ => None,
    }
}

/// Compares by value, whole numbers with fractions too, without rounding either.
pub(super) fn compare(a: &Number, b: &Number) -> Option<Ordering> {
    match (a.as_i128(), b.as_i128()) {
        (Some(a), Some(b)) => Some(a.cmp(&b)),
        (Some(a), None) => compare_mixed(a, b.as_f64()?),
        (None, Some(b)) => compare_mixed(b, a.as_f64()?).map(Ordering::reverse),
        (None, None) => a.as_f64()?.partial_cmp(&b.as_f64()?),
    }
}

fn compare_mixed(whole: i128, float: f64) -> Option<Ordering> {
    if float.abs() >= 1e30 {
        return Some(if float > 0.0 { Ordering::Less } else { Ordering::Greater });
    }
    #[allow(clippy::cast_possible_truncation, reason = "1e30 fits into an i128")]
    let floor = float.trunc() as i128;
    Some(whole.cmp(&floor).then(0.0.partial_cmp(&float.fract())?))
}
