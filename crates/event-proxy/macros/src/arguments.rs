//! Arguments of the attribute.

use proc_macro2::Span;
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::{Error, Expr, Ident, LitStr, Result, Token, parenthesized};

/// The longest service or type, in characters.
const LONGEST_NAME: usize = 64;

pub(crate) struct Arguments {
    pub(crate) service: Option<LitStr>,
    pub(crate) kind: LitStr,
    pub(crate) key: Option<Expr>,
    pub(crate) fields: Vec<Field>,
}

pub(crate) struct Field {
    pub(crate) name: Ident,
    pub(crate) value: Expr,
}

impl Parse for Field {
    fn parse(input: ParseStream) -> Result<Self> {
        let name = input.call(Ident::parse_any)?;
        input.parse::<Token![=]>()?;
        Ok(Self { name, value: input.parse()? })
    }
}

impl Parse for Arguments {
    fn parse(input: ParseStream) -> Result<Self> {
        let (mut service, mut kind, mut key, mut fields) = (None, None, None, None);
        while !input.is_empty() {
            let name = input.call(Ident::parse_any)?;
            match name.to_string().as_str() {
                "service" => once(&mut service, &name, assigned(input, event_name)?)?,
                "type" => once(&mut kind, &name, assigned(input, event_name)?)?,
                "key" => once(&mut key, &name, assigned(input, Expr::parse)?)?,
                "fields" => once(&mut fields, &name, in_parentheses(input)?)?,
                _ => return Err(Error::new(name.span(), format!("no argument `{name}`: {EXPECTED}"))),
            }
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        let kind = kind.ok_or_else(|| Error::new(Span::call_site(), "`type = \"…\"` is missing"))?;
        Ok(Self { service, kind, key, fields: fields.unwrap_or_default() })
    }
}

const EXPECTED: &str = "there are `type`, `service`, `key` and `fields(…)`";

fn once<T>(place: &mut Option<T>, name: &Ident, value: T) -> Result<()> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(Error::new(name.span(), format!("`{name}` is there twice"))),
    }
}

fn assigned<T>(input: ParseStream, value: impl FnOnce(ParseStream) -> Result<T>) -> Result<T> {
    input.parse::<Token![=]>()?;
    value(input)
}

fn in_parentheses(input: ParseStream) -> Result<Vec<Field>> {
    let content;
    parenthesized!(content in input);
    let fields: Punctuated<Field, Token![,]> = content.parse_terminated(Field::parse, Token![,])?;
    Ok(fields.into_iter().collect())
}

/// Parses a name of a service or a type by the proxy's rules.
fn event_name(input: ParseStream) -> Result<LitStr> {
    let literal: LitStr = input.parse()?;
    let text = literal.value();
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if (1..=LONGEST_NAME).contains(&text.len()) && text.bytes().all(allowed) {
        return Ok(literal);
    }
    Err(Error::new(literal.span(), format!("must be 1 to {LONGEST_NAME} of letters, digits, `_` and `-`")))
}
