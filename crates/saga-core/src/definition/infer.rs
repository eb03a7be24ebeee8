//! What an expression yields, and what is wrong with it whatever the data: told before any saga runs.
//!
//! Only what fails with every value that the schemas let in is wrong. What may go well is left alone.

use serde_json::Value;

use super::Expression;
use super::diagnostic::Code;
use super::expression::{Form, Read};
use super::facts::{self, Fact};
use super::fields::distance;
use super::number;
use super::path::{Path, Segment, is_selector, member, output_of, quoted};
use super::program::{Ast, Binary, Each, Function, Program, Root};
use super::types::{Kinds, Type};

/// What is wrong with an expression.
pub(super) struct Fault {
    pub(super) code: Code,
    pub(super) message: String,
    pub(super) remedy: String,
}

/// What an expression sees.
pub(super) struct Scene<'t, 's> {
    pub(super) input: Type<'s>,
    pub(super) output: &'t dyn Fn(&str) -> Type<'s>,
    /// Whether a step may be done without an output, as seen from here.
    pub(super) may_have_none: &'t dyn Fn(&str) -> bool,
    /// The element of a `foreach`.
    pub(super) item: Type<'s>,
    /// Who reads, for messages.
    pub(super) reader: &'t str,
    /// What is known where the expression stands: a step runs only when its `when` is true.
    pub(super) facts: &'t [Fact],
}

impl<'t, 's> Scene<'t, 's> {
    /// The same, as a step sees it.
    pub(super) fn of<'a>(
        &'a self,
        reader: &'a str,
        may_have_none: &'a dyn Fn(&str) -> bool,
        item: Type<'s>,
        facts: &'a [Fact],
    ) -> Scene<'a, 's> {
        Scene { input: self.input.clone(), output: self.output, may_have_none, item, reader, facts }
    }

    /// The type of an expression's value.
    pub(super) fn infer(&self, expression: &Expression, faults: &mut Vec<Fault>) -> Type<'s> {
        let program = match expression.form() {
            Form::Plain(read) => return self.read(read, self.facts, faults),
            Form::Program(program) => program,
        };
        self.walk(program, faults).infer(&program.root)
    }

    pub(super) fn walk<'w>(&'w self, program: &'w Program, faults: &'w mut Vec<Fault>) -> Walk<'w, 't, 's> {
        Walk { scene: self, program, locals: Vec::new(), facts: self.facts.to_vec(), excusing: false, faults }
    }

    pub(super) fn read(&self, read: &Read, facts: &[Fact], faults: &mut Vec<Fault>) -> Type<'s> {
        match read {
            Read::Input(path) => follow(self.input.clone(), "input", path, facts, faults),
            Read::Output { step, path } => {
                let root = output_of(step.as_str());
                if (self.may_have_none)(step.as_str()) && !facts::is_there(facts, &root) {
                    faults.push(Fault {
                        code: Code::MaybeNoOutput,
                        message: format!(
                            "`{}` reads the output of `{step}`, which may have none",
                            self.reader
                        ),
                        remedy: format!("write has({root}) ? {root}… : something else"),
                    });
                }
                follow((self.output)(step.as_str()), &root, path, facts, faults)
            }
            Read::Item(path) => follow(self.item.clone(), "item", path, facts, faults),
            Read::Index => Type::kind(Kinds::WHOLE),
            Read::SagaId => Type::kind(Kinds::TEXT),
        }
    }
}

/// What a path leads to. A fault in it is told once, and what is behind one that it cannot get past is unknown.
fn follow<'s>(root: Type<'s>, name: &str, path: &Path, facts: &[Fact], faults: &mut Vec<Fault>) -> Type<'s> {
    let (mut here, mut text) = (root, name.to_owned());
    let mut missing = None;
    for segment in &path.0 {
        let (wanted, found) = match segment {
            Segment::Key(key) => (Kinds::OBJECT, here.member(key)),
            Segment::Index(at) => (Kinds::LIST, here.element(Some(*at))),
        };
        let whole = format!("{text}{}", Path(vec![segment.clone()]));
        if !here.kinds().meets(wanted) {
            faults.push(Fault {
                code: Code::NoSuchValue,
                message: format!("there is no `{whole}`: `{text}` is {}", here.kinds()),
                remedy: format!("correct the path, or the schema of `{name}`"),
            });
            return Type::ANY;
        }
        let Some(next) = found else {
            faults.push(Fault {
                code: Code::NoSuchValue,
                message: format!("there is no `{whole}`: the schema of `{name}` rules it out"),
                remedy: near(&here, segment).map_or_else(
                    || format!("correct the path, or add it to the schema of `{name}`"),
                    |key| format!("did you mean `{}`?", member(&text, key)),
                ),
            });
            return Type::ANY;
        };
        if here.may_be_null() && !facts::is_not_null(facts, &text) {
            missing.get_or_insert_with(|| null(&text));
        }
        if let Segment::Key(key) = segment
            && here.may_lack(key)
            && !facts::is_there(facts, &whole)
        {
            let there =
                if is_selector(key) { format!("has({whole})") } else { format!("{} in {text}", quoted(key)) };
            missing.get_or_insert_with(|| Fault {
                code: Code::MayBeMissing,
                message: format!("`{whole}` may be missing: the schema of `{name}` does not require it"),
                remedy: format!("write {there} ? {whole} : something else, or make it `required`"),
            });
        }
        (here, text) = (next, whole);
    }
    faults.extend(missing);
    if facts::is_not_null(facts, &text) { here.not_null() } else { here }
}

/// A value that is used as if it were never null.
pub(super) fn null(text: &str) -> Fault {
    Fault {
        code: Code::MayBeMissing,
        message: format!("`{text}` may be null"),
        remedy: format!("write {text} != null ? … : something else, or take null out of its schema"),
    }
}

fn near<'s>(of: &Type<'s>, segment: &Segment) -> Option<&'s str> {
    let Segment::Key(key) = segment else { return None };
    let all = of.members().into_iter().map(|known| (distance(known, key), known));
    all.min().filter(|(distance, _)| *distance <= 2).map(|(_, known)| known)
}

pub(super) struct Walk<'w, 't, 's> {
    pub(super) scene: &'w Scene<'t, 's>,
    pub(super) program: &'w Program,
    pub(super) locals: Vec<Type<'s>>,
    /// What the conditions around the part at hand say.
    facts: Vec<Fact>,
    /// Within a side that another one may excuse.
    excusing: bool,
    faults: &'w mut Vec<Fault>,
}

impl<'s> Walk<'_, '_, 's> {
    fn fault(&mut self, message: String, remedy: &str) -> Type<'s> {
        self.faults.push(Fault { code: Code::BadOperand, message, remedy: remedy.to_owned() });
        Type::ANY
    }

    /// The type of a part that must be able to be of some of these kinds.
    fn want(&mut self, ast: &Ast, wanted: Kinds, what: &str) -> Type<'s> {
        let found = self.infer(ast);
        if found.kinds().meets(wanted) {
            self.not_null(ast, &found, wanted);
            return found;
        }
        let message = format!("{what} {wanted}, and {} is {}", shown(ast), found.kinds());
        self.fault(message, "correct the expression, or the schema")
    }

    /// Tells of a value that is known to be null at times where none may be.
    fn not_null(&mut self, ast: &Ast, found: &Type<'s>, wanted: Kinds) {
        if let Ast::Path { text, .. } = ast
            && found.may_be_null()
            && !wanted.meets(Kinds::NULL)
        {
            self.faults.push(null(text));
        }
    }

    /// The type of a part that is looked at only where a condition is true, or false.
    fn under<T>(&mut self, condition: &Ast, holds: bool, f: impl FnOnce(&mut Self) -> T) -> T {
        let known = self.facts.len();
        self.facts.extend(facts::of(condition, &self.program.outputs, holds));
        let found = f(self);
        self.facts.truncate(known);
        found
    }

    pub(super) fn infer(&mut self, ast: &Ast) -> Type<'s> {
        let truth = Type::kind(Kinds::BOOL);
        match ast {
            Ast::Literal(value) => Type::kind(Kinds::of(value)),
            Ast::Path { root, path, text } => self.path(*root, path, text),
            Ast::Select(of, key) => {
                let of = self.want(of, Kinds::OBJECT, "a member is asked of");
                of.member(key).unwrap_or(Type::ANY)
            }
            Ast::Index(of, at) => self.index(of, at),
            Ast::Has(of, _) => {
                self.want(of, Kinds::OBJECT, "`has` asks");
                truth
            }
            Ast::HasOutput(_) => truth,
            Ast::List(elements) => {
                let all: Vec<Type<'s>> = elements.iter().map(|it| self.infer(it)).collect();
                Type::list_of(all.into_iter().reduce(Type::or).unwrap_or(Type::ANY))
            }
            Ast::Object(entries) => {
                for (key, value) in entries {
                    self.want(key, Kinds::TEXT, "a key is");
                    self.infer(value);
                }
                Type::kind(Kinds::OBJECT)
            }
            Ast::Not(it) => {
                self.want(it, Kinds::BOOL, "`!` takes");
                truth
            }
            Ast::Negate(it) => {
                let it = self.want(it, Kinds::NUMBER, "`-` takes");
                Type::kind(it.kinds().and(Kinds::NUMBER))
            }
            Ast::And(a, b) | Ast::Or(a, b) => {
                let what = if matches!(ast, Ast::And(..)) { "`&&` takes" } else { "`||` takes" };
                // Where one side decides, it does not matter that the other has no value. But one of them has to decide
                // without the other's help.
                let holds = matches!(ast, Ast::And(..));
                let before = self.faults.len();
                self.want(a, Kinds::BOOL, what);
                let of_a = self.faults.split_off(before);
                if !of_a.is_empty() {
                    self.want(b, Kinds::BOOL, what);
                    // Not again within: a long chain would be looked at once for each choice of its parts.
                    if self.faults.len() == before && !self.excusing {
                        self.excusing = true;
                        self.under(b, holds, |it| it.want(a, Kinds::BOOL, what));
                        self.excusing = false;
                        return truth;
                    }
                    let of_b = self.faults.split_off(before);
                    self.faults.extend(of_a.into_iter().chain(of_b));
                    return truth;
                }
                self.under(a, holds, |it| it.want(b, Kinds::BOOL, what));
                truth
            }
            Ast::Conditional(parts) => {
                let [condition, then, otherwise] = &**parts;
                self.want(condition, Kinds::BOOL, "`?` takes");
                let then = self.under(condition, true, |it| it.infer(then));
                let otherwise = self.under(condition, false, |it| it.infer(otherwise));
                then.or(otherwise)
            }
            Ast::Binary(operator, a, b) => self.binary(*operator, a, b),
            Ast::Call(function, args) => self.call(*function, args),
            Ast::Each { each, variable, list, filter, body } => {
                self.each(*each, variable, list, filter.as_deref(), body)
            }
        }
    }

    fn path(&mut self, root: Root, path: &Path, text: &str) -> Type<'s> {
        let read = match root {
            Root::Input => Read::Input(path.clone()),
            Root::Output(slot) => match self.program.outputs.get(slot) {
                Some(step) => Read::Output { step: step.clone(), path: path.clone() },
                None => return Type::ANY,
            },
            Root::Item => Read::Item(path.clone()),
            Root::Index => Read::Index,
            Root::SagaId => Read::SagaId,
            Root::Local(at) => {
                let name = text.split(['.', '[']).next().unwrap_or(text);
                let local = self.locals.get(at).cloned().unwrap_or(Type::ANY);
                return follow(local, name, path, &self.facts, self.faults);
            }
        };
        self.scene.read(&read, &self.facts, self.faults)
    }

    fn index(&mut self, of: &Ast, at: &Ast) -> Type<'s> {
        let of_type = self.want(of, Kinds::LIST.or(Kinds::OBJECT), "an index is asked of");
        let at = self.want(at, Kinds::NUMBER.or(Kinds::TEXT), "an index is");
        let fits = (at.kinds().meets(Kinds::NUMBER) && of_type.kinds().meets(Kinds::LIST))
            || (at.kinds().meets(Kinds::TEXT) && of_type.kinds().meets(Kinds::OBJECT));
        if !fits {
            let message = format!("{} is {}, and its index is {}", shown(of), of_type.kinds(), at.kinds());
            return self.fault(message, "a list is asked by a number, an object by a string");
        }
        match (of_type.kinds(), at.kinds()) {
            (Kinds::LIST, at) if !at.meets(Kinds::TEXT) => of_type.element(None).unwrap_or(Type::ANY),
            _ => Type::ANY,
        }
    }

    fn binary(&mut self, operator: Binary, a: &Ast, b: &Ast) -> Type<'s> {
        let (left, right) = (self.infer(a), self.infer(b));
        let both = left.kinds().by_value().and(right.kinds().by_value());
        let pair = || format!("{} is {}, and {} is {}", shown(a), left.kinds(), shown(b), right.kinds());
        match operator {
            Binary::Add => {
                let sum = both.and(Kinds::NUMBER.or(Kinds::TEXT).or(Kinds::LIST));
                if !sum.meets(Kinds::ANY) {
                    let message = format!("these cannot be added: {}", pair());
                    return self
                        .fault(message, "add numbers, strings or lists; string(…) and int(…) convert");
                }
                self.not_null(a, &left, sum);
                self.not_null(b, &right, sum);
                let number = common(operator, a, b, left.kinds(), right.kinds());
                let sum = sum.without(Kinds::NUMBER).or(number);
                if !sum.meets(Kinds::ANY) {
                    return self.do_not_mix(a, b);
                }
                self.may_not_mix(operator, (a, &left), (b, &right));
                Type::kind(sum)
            }
            Binary::Subtract | Binary::Multiply | Binary::Divide | Binary::Modulo => {
                if !both.meets(Kinds::NUMBER) {
                    let message = format!("these cannot be calculated with: {}", pair());
                    return self.fault(message, "calculate with numbers; int(…) and double(…) convert");
                }
                self.not_null(a, &left, Kinds::NUMBER);
                self.not_null(b, &right, Kinds::NUMBER);
                let by_zero = matches!(operator, Binary::Divide | Binary::Modulo)
                    && matches!(b, Ast::Literal(Value::Number(it)) if it.as_f64() == Some(0.0));
                if by_zero && !matches!(a, Ast::Literal(_)) {
                    let message = format!("{} is divided by zero", shown(a));
                    return self.fault(message, "divide by something else");
                }
                let number = common(operator, a, b, left.kinds(), right.kinds());
                if !number.meets(Kinds::ANY) {
                    return self.do_not_mix(a, b);
                }
                self.may_not_mix(operator, (a, &left), (b, &right));
                Type::kind(number)
            }
            Binary::Less | Binary::LessOrEqual | Binary::Greater | Binary::GreaterOrEqual => {
                if !both.meets(Kinds::NUMBER.or(Kinds::TEXT).or(Kinds::BOOL)) {
                    let message = format!("these have no order: {}", pair());
                    self.fault(message, "compare numbers with numbers, and strings with strings");
                }
                self.not_null(a, &left, Kinds::NUMBER);
                self.not_null(b, &right, Kinds::NUMBER);
                Type::kind(Kinds::BOOL)
            }
            Binary::Equal | Binary::NotEqual => {
                // Who asks once more whether it is null may.
                let asked_before = self.is_known_not_null(a, b) || self.is_known_not_null(b, a);
                if !both.meets(Kinds::ANY) && asked_before {
                    return Type::kind(Kinds::BOOL);
                }
                if !both.meets(Kinds::ANY) {
                    let message = format!("these are never equal: {}", pair());
                    let remedy = if left.kinds().or(right.kinds()).meets(Kinds::NULL) {
                        "`has(…)` asks whether a member is there"
                    } else {
                        "compare values of one kind; string(…) and int(…) convert"
                    };
                    self.fault(message, remedy);
                } else if let Some((text, other)) = with_literal(a, b, &left, &right)
                    && !other.admits(text)
                {
                    let message = format!("these are never equal: the schema does not know {text:?}");
                    self.fault(message, "compare with one of the values that the schema lists");
                }
                Type::kind(Kinds::BOOL)
            }
            Binary::In => {
                let holds = Kinds::LIST.or(Kinds::OBJECT);
                let element = right.element(None).unwrap_or(Type::ANY);
                let never = right.kinds() == Kinds::LIST && !element.kinds().by_value().meets(left.kinds());
                if !right.kinds().meets(holds) {
                    let message = format!("nothing is in {}, which is {}", shown(b), right.kinds());
                    self.fault(message, "ask for an element of a list, or a member of an object");
                    return Type::kind(Kinds::BOOL);
                }
                self.not_null(b, &right, holds);
                if never {
                    let message =
                        format!("{} is {}, and the list has {}", shown(a), left.kinds(), element.kinds());
                    self.fault(message, "ask for a value of the kind that the list has");
                }
                Type::kind(Kinds::BOOL)
            }
        }
    }

    /// Two numbers that mix in some sagas and park the others: where schemas say that both are numbers, and not which.
    fn may_not_mix(&mut self, operator: Binary, (a, left): (&Ast, &Type<'s>), (b, right): (&Ast, &Type<'s>)) {
        let numbers = [left.kinds(), right.kinds()].map(|kinds| kinds.without(Kinds::NULL));
        let known = numbers.iter().all(|kinds| !kinds.meets(Kinds::ANY.without(Kinds::NUMBER)));
        let both_are = |one: Kinds| numbers.iter().all(|kinds| *kinds == one);
        let same = both_are(Kinds::WHOLE) || both_are(Kinds::FRACTION);
        let adapts = number::adapts(operator, a, b) || number::adapts(operator, b, a);
        // One value beside itself.
        let twice = matches!((a, b), (Ast::Path { text: a, .. }, Ast::Path { text: b, .. }) if a == b);
        if !known || same || adapts || twice {
            return;
        }
        let message = format!(
            "where one is whole and the other a fraction these do not mix: {} and {}",
            shown(a),
            shown(b)
        );
        self.fault(message, "double(…) around both makes fractions of them, int(…) whole numbers");
    }

    /// Whether a value is compared with null where it is known already that it is not.
    fn is_known_not_null(&self, value: &Ast, null: &Ast) -> bool {
        let known = matches!(value, Ast::Path { text, .. } if facts::is_not_null(&self.facts, text));
        known && matches!(null, Ast::Literal(Value::Null))
    }

    fn do_not_mix(&mut self, a: &Ast, b: &Ast) -> Type<'s> {
        let message = format!("a whole number and a fraction do not mix: {} and {}", shown(a), shown(b));
        self.fault(
            message,
            "double(…) makes a fraction of a whole number, int(…) a whole number of a fraction",
        )
    }

    fn call(&mut self, function: Function, args: &[Ast]) -> Type<'s> {
        let (wanted, yields) = match function {
            Function::Size => (Kinds::TEXT.or(Kinds::LIST).or(Kinds::OBJECT), Kinds::WHOLE),
            Function::Contains | Function::StartsWith | Function::EndsWith => (Kinds::TEXT, Kinds::BOOL),
            Function::String => (Kinds::TEXT.or(Kinds::BOOL).or(Kinds::NUMBER), Kinds::TEXT),
            Function::Int => (Kinds::TEXT.or(Kinds::NUMBER), Kinds::WHOLE),
            Function::Double => (Kinds::TEXT.or(Kinds::NUMBER), Kinds::FRACTION),
        };
        let name = match function {
            Function::Size => "size",
            Function::Contains => "contains",
            Function::StartsWith => "startsWith",
            Function::EndsWith => "endsWith",
            Function::String => "string",
            Function::Int => "int",
            Function::Double => "double",
        };
        for arg in args {
            self.want(arg, wanted, &format!("`{name}` takes"));
        }
        Type::kind(yields)
    }

    fn each(&mut self, each: Each, variable: &str, list: &Ast, filter: Option<&Ast>, body: &Ast) -> Type<'s> {
        let found = self.want(list, Kinds::LIST.or(Kinds::OBJECT), "elements are asked of");
        let element = match found.kinds() {
            Kinds::LIST => found.element(None).unwrap_or(Type::ANY),
            Kinds::OBJECT => Type::kind(Kinds::TEXT),
            _ => Type::ANY,
        };
        self.locals.push(element.clone());
        let outside = self.facts.clone();
        // What was known under this name was known of something else.
        self.facts.retain(|fact| !fact.is_of(variable));
        self.facts.extend(facts::of_elements(list, variable, &self.program.outputs));
        if let Some(filter) = filter {
            self.want(filter, Kinds::BOOL, "the filter of `map` is");
        }
        let made = match (each, filter) {
            (Each::Map, Some(filter)) => Type::list_of(self.under(filter, true, |it| it.infer(body))),
            (Each::Map, None) => Type::list_of(self.infer(body)),
            (Each::Filter, _) => Type::list_of(element),
            (Each::All | Each::Exists | Each::ExistsOne, _) => Type::kind(Kinds::BOOL),
        };
        if each != Each::Map {
            self.want(body, Kinds::BOOL, "what is asked of each element is");
        }
        self.facts = outside;
        self.locals.pop();
        made
    }
}

/// Which numbers both sides of a calculation can be.
fn common(operator: Binary, a: &Ast, b: &Ast, left: Kinds, right: Kinds) -> Kinds {
    let of = |one: &Ast, other: &Ast, kinds: Kinds| {
        if number::adapts(operator, one, other) { Kinds::NUMBER } else { kinds.and(Kinds::NUMBER) }
    };
    of(a, b, left).and(of(b, a, right))
}

/// A literal text that is compared, and the type of what it is compared with.
fn with_literal<'a, 't, 's>(
    a: &'a Ast,
    b: &'a Ast,
    left: &'t Type<'s>,
    right: &'t Type<'s>,
) -> Option<(&'a str, &'t Type<'s>)> {
    match (a, b) {
        (_, Ast::Literal(Value::String(text))) => Some((text, left)),
        (Ast::Literal(Value::String(text)), _) => Some((text, right)),
        _ => None,
    }
}

/// A part of an expression, for messages.
fn shown(ast: &Ast) -> String {
    match ast {
        Ast::Path { text, .. } => format!("`{text}`"),
        Ast::Literal(value) => {
            let text = value.to_string();
            if text.chars().count() > 40 { "a literal".to_owned() } else { format!("`{text}`") }
        }
        Ast::Call(..) | Ast::Each { .. } => "what the function yields".to_owned(),
        _ => "one side".to_owned(),
    }
}
