//! Words into comparisons.

use super::grammar::{Grammar, OrderSyntax, Right};
use super::lexer::{Token, tokens};
use super::{Clause, FilterError, Op, Order, Value};

/// Reads a filter; an empty one has no clause.
///
/// # Errors
/// When it is not in the language, names what the resource lacks, or compares what can't be.
pub fn parse(grammar: &Grammar, filter: &str) -> Result<Vec<Clause>, FilterError> {
    let tokens = tokens(filter)?;
    let mut rest = tokens.as_slice();
    let mut clauses = Vec::new();
    loop {
        // MLflow looks for comparisons and skips every `AND`: at the ends, doubled, missing.
        while let Some((token, tail)) = rest.split_first()
            && is_keyword(token, "AND")
        {
            rest = tail;
        }
        if rest.is_empty() {
            break;
        }
        clauses.push(clause(grammar, filter, &mut rest)?);
    }
    Ok(clauses)
}

fn clause(grammar: &Grammar, filter: &str, rest: &mut &[Token]) -> Result<Clause, FilterError> {
    let invalid = || {
        FilterError(format!(
            "Invalid comparison clause in filter string '{filter}'"
        ))
    };
    let (prefix, key) = match rest.first() {
        Some(Token::Name { prefix, key }) => (prefix.as_deref(), key),
        Some(Token::Quoted(key)) => (None, key),
        _ => return Err(invalid()),
    };
    *rest = &rest[1..];
    let (field, right) = grammar.field(prefix, key)?;
    let op = operator(rest).ok_or_else(invalid)?;
    grammar.check(&field, right, op)?;
    let value = match op {
        Op::IsNull | Op::IsNotNull => Value::None,
        Op::In | Op::NotIn => Value::List(list(rest).ok_or_else(|| {
            FilterError(format!(
                "While parsing a list in the query '{filter}', expected a non-empty list of \
                 quoted string values"
            ))
        })?),
        _ => {
            let Some((token, tail)) = rest.split_first() else {
                return Err(invalid());
            };
            *rest = tail;
            match (right, token) {
                (Right::Number | Right::TextOrNumber, Token::Number(text)) => {
                    number(text).ok_or_else(invalid)?
                }
                (Right::Integer, Token::Number(text)) => match number(text) {
                    Some(value @ Value::Int(_)) => value,
                    _ => {
                        return Err(FilterError(format!(
                            "Expected an integer for '{key}' in filter string '{filter}'"
                        )));
                    }
                },
                (Right::Number | Right::Integer, _) => {
                    return Err(FilterError(format!(
                        "Expected numeric value type for '{key}' in filter string '{filter}'"
                    )));
                }
                (_, Token::Text(text) | Token::Quoted(text)) => Value::Text(text.clone()),
                _ => {
                    return Err(FilterError(format!(
                        "Expected a quoted string value for '{key}' in filter string '{filter}'"
                    )));
                }
            }
        }
    };
    Ok(Clause { field, op, value })
}

fn operator(rest: &mut &[Token]) -> Option<Op> {
    let (op, used) = match rest {
        [Token::Comparator(text), ..] => {
            let op = match *text {
                "=" => Op::Eq,
                "!=" => Op::Ne,
                "<" => Op::Lt,
                "<=" => Op::Le,
                ">" => Op::Gt,
                _ => Op::Ge,
            };
            (op, 1)
        }
        [a, b, c, ..] if is_keyword(a, "IS") && is_keyword(b, "NOT") && is_keyword(c, "NULL") => {
            (Op::IsNotNull, 3)
        }
        [a, b, ..] if is_keyword(a, "IS") && is_keyword(b, "NULL") => (Op::IsNull, 2),
        [a, b, ..] if is_keyword(a, "NOT") && is_keyword(b, "IN") => (Op::NotIn, 2),
        [a, ..] if is_keyword(a, "IN") => (Op::In, 1),
        [a, ..] if is_keyword(a, "LIKE") => (Op::Like, 1),
        [a, ..] if is_keyword(a, "ILIKE") => (Op::ILike, 1),
        _ => return None,
    };
    *rest = &rest[used..];
    Some(op)
}

fn list(rest: &mut &[Token]) -> Option<Vec<String>> {
    let [Token::Open, tail @ ..] = *rest else {
        return None;
    };
    *rest = tail;
    let mut values = Vec::new();
    loop {
        match *rest {
            // A comma may follow the last value.
            [Token::Close, tail @ ..] if !values.is_empty() => {
                *rest = tail;
                return Some(values);
            }
            [Token::Text(text) | Token::Quoted(text), tail @ ..] => {
                values.push(text.clone());
                *rest = tail;
                match *rest {
                    [Token::Comma, tail @ ..] => *rest = tail,
                    [Token::Close, ..] => {}
                    _ => return None,
                }
            }
            _ => return None,
        }
    }
}

fn number(text: &str) -> Option<Value> {
    if let Ok(int) = text.parse() {
        return Some(Value::Int(int));
    }
    text.parse().ok().map(Value::Float)
}

fn is_keyword(token: &Token, keyword: &str) -> bool {
    matches!(token, Token::Name { prefix: None, key } if key.eq_ignore_ascii_case(keyword))
}

/// Reads one column of an order: a field, then perhaps `ASC` or `DESC`.
///
/// # Errors
/// When it is not that, or names what the resource lacks.
pub fn parse_order_by(grammar: &Grammar, column: &str) -> Result<Order, FilterError> {
    let invalid = || {
        FilterError(format!(
            "Invalid order_by clause '{column}'. Could not be parsed."
        ))
    };
    if grammar.order_syntax == OrderSyntax::BareField {
        let (prefix, key) = match column.split_once('.') {
            Some((prefix, key)) => (Some(prefix), key),
            None => (None, column.trim()),
        };
        return Ok(Order {
            field: grammar.order_field(prefix, key)?,
            ascending: true,
        });
    }
    let tokens = tokens(column).map_err(|_| invalid())?;
    let (name, direction) = match tokens.as_slice() {
        [name] => (name, None),
        [name, direction] => (name, Some(direction)),
        _ => return Err(invalid()),
    };
    let (prefix, key) = match name {
        Token::Name { prefix, key } => (prefix.as_deref(), key),
        Token::Quoted(key) => (None, key),
        _ => return Err(invalid()),
    };
    let ascending = match direction {
        None => true,
        Some(token) if is_keyword(token, "ASC") => true,
        Some(token) if is_keyword(token, "DESC") => false,
        Some(_) => {
            return Err(FilterError(format!(
                "Invalid ordering key in order_by clause '{column}'."
            )));
        }
    };
    let field = grammar.order_field(prefix, key)?;
    Ok(Order { field, ascending })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{EXPERIMENTS, Field, MODEL_VERSIONS, REGISTERED_MODELS, RUNS, TRACES};
    use super::*;

    fn check(filter: &str, expected: &[(Field, Op, Value)]) {
        let clauses: Vec<_> = parse(&RUNS, filter)
            .unwrap()
            .into_iter()
            .map(|c| (c.field, c.op, c.value))
            .collect();
        assert_eq!(clauses, expected, "{filter}");
    }

    #[test]
    fn every_form_of_a_comparison_is_read() {
        let text = |text: &str| Value::Text(text.into());
        check("", &[]);
        check(
            "metrics.auc > 0.9",
            &[(Field::Metric("auc".into()), Op::Gt, Value::Float(0.9))],
        );
        check(
            "metric.`a/b c` <= -1e-3",
            &[(Field::Metric("a/b c".into()), Op::Le, Value::Float(-1e-3))],
        );
        check(
            "params.lr = '0.1'",
            &[(Field::Param("lr".into()), Op::Eq, text("0.1"))],
        );
        check(
            "params.\"a b\" != \"c\"",
            &[(Field::Param("a b".into()), Op::Ne, text("c"))],
        );
        check(
            "tags.mlflow.parentRunId = 'x' and tags.`a.b` ilike '%Q_'",
            &[
                (Field::Tag("mlflow.parentRunId".into()), Op::Eq, text("x")),
                (Field::Tag("a.b".into()), Op::ILike, text("%Q_")),
            ],
        );
        check(
            "attributes.run_id IN ('a', \"b\",) AND status='FINISHED' AND run_id not in ('c')",
            &[
                (
                    Field::Attribute("run_id"),
                    Op::In,
                    Value::List(vec!["a".into(), "b".into()]),
                ),
                (Field::Attribute("status"), Op::Eq, text("FINISHED")),
                (
                    Field::Attribute("run_id"),
                    Op::NotIn,
                    Value::List(vec!["c".into()]),
                ),
            ],
        );
        check(
            "start_time >= 1664067852747 AND `Run name` LIKE 'a%' AND params.x IS NOT NULL AND tags.y is null",
            &[
                (
                    Field::Attribute("start_time"),
                    Op::Ge,
                    Value::Int(1_664_067_852_747),
                ),
                (Field::Attribute("run_name"), Op::Like, text("a%")),
                (Field::Param("x".into()), Op::IsNotNull, Value::None),
                (Field::Tag("y".into()), Op::IsNull, Value::None),
            ],
        );
        check(
            "dataset.name = 'a' AND datasets.context IN ('train', 'eval')",
            &[
                (Field::Dataset("name"), Op::Eq, text("a")),
                (
                    Field::Dataset("context"),
                    Op::In,
                    Value::List(vec!["train".into(), "eval".into()]),
                ),
            ],
        );
        let pair = [
            (Field::Param("a".into()), Op::Eq, text("b")),
            (Field::Param("c".into()), Op::Eq, text("d")),
        ];
        check("params.a = 'b' params.c = 'd'", &pair);
        check("AND params.a = 'b' AND and params.c = 'd' AND", &pair);
        check(
            "params.q = 'it''s'",
            &[(Field::Param("q".into()), Op::Eq, text("it's"))],
        );
    }

    #[test]
    fn what_is_not_in_the_language_is_refused() {
        for bad in [
            "metrics.auc",
            "metrics.auc >",
            "metrics.auc > 'x'",
            "metrics.auc LIKE 'x'",
            "metrics.auc IS NULL",
            "params.lr = 0.1",
            "params.lr > '1'",
            "params.lr IN ('a')",
            "a.b = 'c'",
            "attributes.nothing = 'c'",
            "params.a = 'b' OR params.c = 'd'",
            "(params.a = 'b')",
            "params.a == 'b'",
            "params.a <> 'b'",
            "params.a = 'b', params.c = 'd'",
            "run_id IN ()",
            "run_id IN ('a', 1)",
            "run_id IN ('a'",
            "status IN ('a')",
            "dataset.size = '1'",
            "dataset.name > 'a'",
            "dataset.name IS NULL",
            "params.a = 'b",
            "params.a = 'b'; DROP TABLE runs",
            "start_time = '5'",
            "metrics.a > 1.2.3",
            "metrics.a > 1abc",
            "metrics.a BETWEEN 1 AND 2",
        ] {
            assert!(parse(&RUNS, bad).is_err(), "{bad}");
        }
        assert!(parse(&EXPERIMENTS, "metrics.a > 1").is_err());
        assert!(parse(&EXPERIMENTS, "experiment_id LIKE '1'").is_err());
        assert!(parse(&REGISTERED_MODELS, "creation_timestamp > 1").is_err());
        assert!(parse(&REGISTERED_MODELS, "tags.a IS NULL").is_err());
        assert!(parse(&MODEL_VERSIONS, "version_number > 1 AND run_id IN ('a')").is_ok());
    }

    #[test]
    fn traces_are_asked_for_spans_and_assessments() {
        let fields = |filter: &str| -> Vec<Field> {
            let clauses = parse(&TRACES, filter).unwrap().into_iter();
            clauses.map(|clause| clause.field).collect()
        };
        assert_eq!(
            fields(
                "trace.status = 'OK' AND span.type IN ('LLM') AND span.attributes.model LIKE '%x%' \
                 AND feedback.good = 'yes' AND expectation.n >= 3 AND feedback.x IS NULL \
                 AND metadata.`mlflow.sourceRun` = 'r' AND issue.id = 'i' AND timestamp > 5"
            ),
            [
                Field::Attribute("status"),
                Field::Span("type".into()),
                Field::Span("attributes.model".into()),
                Field::Assessment("feedback", "good".into()),
                Field::Assessment("expectation", "n".into()),
                Field::Assessment("feedback", "x".into()),
                Field::Param("mlflow.sourceRun".into()),
                Field::Assessment("issue", "id".into()),
                Field::Attribute("timestamp_ms"),
            ]
        );
        for bad in [
            "span.size = '1'",
            "issue.id != 'x'",
            "issue.name = 'x'",
            "span.name > 'a'",
        ] {
            assert!(parse(&TRACES, bad).is_err(), "{bad}");
        }
        assert!(parse(&RUNS, "span.name = 'a'").is_err());
        assert!(parse_order_by(&TRACES, "timestamp DESC").is_ok());
        assert!(parse_order_by(&TRACES, "span.name").is_err());
    }

    #[test]
    fn orders_are_read() {
        for (column, field, ascending) in [
            ("metrics.auc DESC", Field::Metric("auc".into()), false),
            ("params.`a b`", Field::Param("a b".into()), true),
            (
                "attribute.start_time asc",
                Field::Attribute("start_time"),
                true,
            ),
            ("Created", Field::Attribute("start_time"), true),
            ("tags.\"x\" DESC", Field::Tag("x".into()), false),
        ] {
            assert_eq!(
                parse_order_by(&RUNS, column).unwrap(),
                Order { field, ascending }
            );
        }
        for bad in [
            "",
            "metrics.auc UP",
            "metrics.auc DESC NULLS",
            "x.y",
            "1",
            "metrics.a, b",
            "dataset.name",
        ] {
            assert!(parse_order_by(&RUNS, bad).is_err(), "{bad}");
        }
        assert!(parse_order_by(&REGISTERED_MODELS, "timestamp DESC").is_ok());
        assert!(parse_order_by(&EXPERIMENTS, "tags.a").is_err());
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in any::<String>()) {
            parse(&RUNS, &text).ok();
            parse_order_by(&RUNS, &text).ok();
        }

        #[test]
        fn no_mix_of_words_makes_it_panic(
            words in proptest::collection::vec(
                proptest::sample::select(vec![
                    "metrics.", "params.`", "a", "`", "'", "\"", "b'", "=", "!=", "<", "IN", "(",
                    ")", ",", "NOT", "NULL", "IS", "AND", "1", "-", "1e", ".", "run_id", " ", "é",
                ]),
                0..20,
            ),
            gap in proptest::sample::select(vec!["", " "]),
        ) {
            let text = words.join(gap);
            parse(&RUNS, &text).ok();
            parse_order_by(&RUNS, &text).ok();
        }

        #[test]
        fn any_key_and_text_survive_quoting(key in "[^`\"]{1,20}", text in "[^']{0,20}") {
            let clauses = parse(&RUNS, &format!("tags.`{key}` = '{text}'")).unwrap();
            prop_assert_eq!(&clauses[0].field, &Field::Tag(key));
            prop_assert_eq!(&clauses[0].value, &Value::Text(text));
        }
    }
}
