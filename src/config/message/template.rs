//! `{{ link('https://…') }}` in a message's texts.

use std::borrow::Cow;

use serde_json::Value;

use crate::config::problem::Problem;
use crate::config::tree::shorten;

/// In which text an expression stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Any text: what stands in `{{ }}` must be ours.
    Plain,
    /// A textV2: `{{` is also LINE's own way to write a brace.
    TextV2,
}

enum Expression<'t> {
    Link(&'t str),
    Later(&'t str),
    Other,
}

const LINK_MAX: usize = 1_000;

/// The text with each link as its address. Names of friends and codes come later and are refused by name.
pub(super) fn render(text: &str, place: Place) -> Result<Cow<'_, str>, Problem> {
    if !text.contains("{{") {
        return Ok(text.into());
    }
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        out.push_str(before);
        let closed = after.split_once("}}");
        let inner = closed.map_or(after, |(inner, _)| inner).trim();
        match (expression(inner), closed) {
            (Expression::Link(url), Some((_, behind))) => {
                if !is_link(url) {
                    return Err(bad(inner));
                }
                out.push_str(url);
                rest = behind;
            }
            (Expression::Later(feature), Some(_)) => {
                return Err(Problem::Later { feature: feature.to_owned() });
            }
            (Expression::Other, _) if place == Place::TextV2 => {
                out.push_str("{{");
                rest = after;
            }
            _ => return Err(bad(inner)),
        }
    }
    out.push_str(rest);
    Ok(out.into())
}

fn bad(inner: &str) -> Problem {
    Problem::BadTemplate { expression: shorten(inner.lines().next().unwrap_or("").trim()) }
}

fn expression(inner: &str) -> Expression<'_> {
    if let Some(argument) = inner.strip_prefix("link") {
        let argument = argument.trim().strip_prefix('(').and_then(|rest| rest.strip_suffix(')'));
        let argument = argument.map(str::trim).and_then(|quoted| {
            let quote = quoted.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
            quoted.strip_prefix(quote)?.strip_suffix(quote)
        });
        return argument.map_or(Expression::Other, Expression::Link);
    }
    if inner == "friend" || inner.starts_with("friend.") || inner.starts_with("code(") {
        return Expression::Later(inner);
    }
    Expression::Other
}

/// http or https, a host, no blanks or quotes, at most what LINE takes in an action.
pub(super) fn is_link(url: &str) -> bool {
    let host = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let host = host.and_then(|rest| rest.split(['/', '?', '#']).next()).unwrap_or("");
    let clean =
        |c: char| !c.is_whitespace() && !c.is_control() && !matches!(c, '"' | '\'' | '<' | '>' | '{' | '}');
    !host.is_empty() && url.encode_utf16().count() <= LINK_MAX && url.chars().all(clean)
}

/// A message as built, all its texts rendered. Texts that cannot be were reported when it was built.
pub(super) fn render_all(value: &Value) -> Value {
    match value {
        Value::Array(items) => Value::Array(items.iter().map(render_all).collect()),
        Value::Object(entries) => {
            let v2 = entries.get("type").is_some_and(|of| of == "textV2");
            let place = if v2 { Place::TextV2 } else { Place::Plain };
            let render = |item: &Value| match item {
                Value::String(text) => {
                    Value::String(render(text, place).unwrap_or(text.as_str().into()).into_owned())
                }
                other => render_all(other),
            };
            Value::Object(entries.iter().map(|(key, item)| (key.clone(), render(item))).collect())
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_becomes_its_address() {
        let render = |text| render(text, Place::Plain);
        assert_eq!(
            render("冬 {{ link('https://a.example/x?y=1') }} です").unwrap(),
            "冬 https://a.example/x?y=1 です"
        );
        assert_eq!(render(r#"{{link("https://a.example")}}"#).unwrap(), "https://a.example");
        assert_eq!(render("a { b } c").unwrap(), "a { b } c");
    }

    #[test]
    fn what_is_not_ours_is_refused() {
        for text in [
            "{{",
            "{{ }}",
            "{{ link() }}",
            "{{ link('ftp://a') }}",
            "{{ link('https://a b') }}",
            "{{ name }}",
        ] {
            assert!(matches!(render(text, Place::Plain), Err(Problem::BadTemplate { .. })), "{text}");
        }
        for text in ["{{ friend.name }}", "{{ code() }}"] {
            assert!(matches!(render(text, Place::Plain), Err(Problem::Later { .. })), "{text}");
        }
    }

    #[test]
    fn a_text_v2_keeps_its_escaped_braces() {
        assert_eq!(
            render("{{a}} {{ link('https://a.example') }}", Place::TextV2).unwrap(),
            "{{a}} https://a.example"
        );
    }
}
