//! Rules for OpenAPI documents, and the comparison of a document with answers of the server.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

/// An OpenAPI document.
pub struct Description(Value);

impl Description {
    /// Wraps a document from a server.
    pub fn new(document: Value) -> Self {
        Self(document)
    }

    /// Compares an answer with the description of its operation: the status is listed, and for a problem document the
    /// status's description names the `code`. Paths outside of the document are not compared.
    ///
    /// # Panics
    /// If the document lacks the status or the code.
    #[track_caller]
    pub fn assert_describes(&self, method: &str, path: &str, status: u16, code: Option<&str>) {
        let Some(operation) = self.operation(&method.to_lowercase(), path) else { return };
        let response = &operation["responses"][status.to_string()];
        assert!(response.is_object(), "{method} {path} answers {status}, which its description lacks");
        if let Some(code) = code.filter(|_| status >= 400) {
            let description = response["description"].as_str().unwrap_or_default();
            let named = description.contains(&format!("`{code}`"));
            assert!(named, "{method} {path} answers {status} {code}, described as {description:?}");
        }
    }

    fn operation(&self, method: &str, path: &str) -> Option<&Value> {
        let fits = |pattern: &str| {
            let (mut segments, mut own) = (path.split('/'), pattern.split('/'));
            let same = own.by_ref().zip(segments.by_ref()).all(|(own, it)| own.starts_with('{') || own == it);
            same && path.split('/').count() == pattern.split('/').count()
        };
        let paths = self.0["paths"].as_object()?;
        // a literal segment goes before a parameter
        let found = paths.iter().filter(|(pattern, item)| fits(pattern) && item[method].is_object());
        found.min_by_key(|(pattern, _)| pattern.matches('{').count()).map(|(_, item)| &item[method])
    }

    /// Checks the rules for generated clients.
    ///
    /// # Panics
    /// If the document breaks a rule.
    pub fn assert_usable(&self) {
        let mut ids = BTreeSet::new();
        let tags: Vec<_> = self.0["tags"].as_array().expect("tags").iter().map(|tag| &tag["name"]).collect();
        for (route, operation) in self.operations() {
            let id = operation["operationId"].as_str().unwrap_or_default();
            let is_verb_and_noun = id.starts_with(|c: char| c.is_ascii_lowercase())
                && id.contains(|c: char| c.is_ascii_uppercase())
                && id.chars().all(|c| c.is_ascii_alphanumeric());
            assert!(is_verb_and_noun, "{route}: the operationId {id:?} is no verb and noun in camel case");
            assert!(ids.insert(id), "{route}: the operationId {id} is another operation's");
            assert!(tags.contains(&&operation["tags"][0]), "{route}: the tag has no description");
            for (status, response) in operation["responses"].as_object().expect("responses") {
                let description = response["description"].as_str().unwrap_or_default();
                assert!(!description.is_empty(), "{route}: {status} has no description");
                let problem = &response["content"]["application/problem+json"]["schema"]["$ref"];
                let is_problem = status.starts_with(['4', '5', 'd']);
                assert_eq!(problem == "#/components/schemas/Problem", is_problem, "{route}: {status}");
            }
            assert!(operation["responses"].get("401").is_some() || is_public(operation), "{route}: no 401");
            assert!(operation["responses"].get("403").is_some() || !needs_role(operation), "{route}: no 403");
        }
        assert!(self.0["servers"].as_array().is_some_and(|servers| !servers.is_empty()), "no servers");
        self.assert_texts_are_enums();
    }

    fn operations(&self) -> impl Iterator<Item = (String, &Value)> {
        let items = self.0["paths"].as_object().expect("paths").iter();
        items.flat_map(|(path, item)| {
            let operations = item.as_object().into_iter().flatten();
            operations.map(move |(method, operation)| (format!("{method} {path}"), operation))
        })
    }

    fn assert_texts_are_enums(&self) {
        walk(&self.0, &mut |object| {
            let pattern = object.get("pattern").and_then(Value::as_str).unwrap_or_default();
            assert!(!pattern.contains('|'), "{pattern}: an enum, not a pattern");
        });
    }
}

fn is_public(operation: &Value) -> bool {
    operation["security"].as_array().expect("security").is_empty()
}

fn needs_role(operation: &Value) -> bool {
    let requirements = operation["security"].as_array().into_iter().flatten().filter_map(Value::as_object);
    requirements.flat_map(Map::values).any(|roles| roles.as_array().is_some_and(|roles| !roles.is_empty()))
}

fn walk(value: &Value, look: &mut impl FnMut(&Map<String, Value>)) {
    match value {
        Value::Object(members) => {
            look(members);
            members.values().for_each(|member| walk(member, look));
        }
        Value::Array(items) => items.iter().for_each(|item| walk(item, look)),
        _ => {}
    }
}
